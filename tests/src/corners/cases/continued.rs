//! A final answer in place of 100 Continue: the client does not send the body that it announced (RFC 9110 section
//! 10.1.1), and asks for more on the same connection; or it sends it all the same.

use crate::{
    corners::{
        case::{Case, Role},
        expected::Expected,
        said::{answered, get},
    },
    http::dialog::{
        Deed, Dialog,
        Side::{Client, Server},
    },
};

/// Requests behind it.
const MORE: u64 = 30;

/// Both roles.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for role in Role::BOTH {
        for (word, field) in [("length", "Content-Length: 1000"), ("chunked", "Transfer-Encoding: chunked")] {
            cases.push(kept_back(role, word, field));
        }
        cases.push(kept_back_twice(role));
        cases.push(sent_all_the_same(role));
        cases.push(continued(role));
        cases.push(closed(role));
    }
    cases
}

fn expecting(route: &str, field: &str) -> String {
    format!("POST {route} HTTP/1.1\r\nHost: corner\r\nExpect: 100-continue\r\n{field}\r\n\r\n")
}

/// More exchanges on the connection.
fn more(role: Role, route: &str) -> (Dialog, Expected) {
    let behind = format!("{route}/behind");
    let dialog = (0..MORE)
        .fold(Dialog::default(), |dialog, _| dialog.client(get(&behind)).server(answered(200, 2)))
        .closed_by(Client);
    (dialog, Expected::nothing().requests(role, "GET", &behind, 200, MORE))
}

/// The body never comes.
fn kept_back(role: Role, word: &str, field: &str) -> Case {
    let route = format!("/{}-kept-back-{word}", role.word());
    let (rest, behind) = more(role, &route);
    let dialog = Dialog::default().client(expecting(&route, field)).server(answered(401, 4)).then(rest);
    role.case(route.clone(), dialog, behind.requests(role, "POST", &route, 401, 1))
}

/// Asked again with leave, as a client does that has to say who it is: the second body comes.
fn kept_back_twice(role: Role) -> Case {
    let route = format!("/{}-kept-back-twice", role.word());
    let (rest, behind) = more(role, &route);
    let request = expecting(&route, "Content-Length: 1000");
    let dialog = Dialog::default()
        .client(&request)
        .server(answered(401, 4))
        .client(&request)
        .server(answered(401, 4))
        .client(&request)
        .server("HTTP/1.1 100 Continue\r\n\r\n")
        .act(Client, Deed::Fill(1000))
        .server(answered(201, 4))
        .then(rest);
    let expected = behind.requests(role, "POST", &route, 401, 2).requests(role, "POST", &route, 201, 1);
    role.case(route, dialog, expected)
}

/// The client does not wait: the body is sent although it was refused.
fn sent_all_the_same(role: Role) -> Case {
    let route = format!("/{}-sent-all-the-same", role.word());
    let (rest, behind) = more(role, &route);
    let dialog = Dialog::default()
        .client(expecting(&route, "Content-Length: 1000"))
        .server(answered(401, 4))
        .act(Client, Deed::Fill(1000))
        .then(rest);
    role.case(route.clone(), dialog, behind.requests(role, "POST", &route, 401, 1))
}

/// As it usually is.
fn continued(role: Role) -> Case {
    let route = format!("/{}-continued", role.word());
    let (rest, behind) = more(role, &route);
    let dialog = Dialog::default()
        .client(expecting(&route, "Content-Length: 1000"))
        .server("HTTP/1.1 100 Continue\r\n\r\n")
        .act(Client, Deed::Fill(1000))
        .server(answered(201, 4))
        .then(rest);
    role.case(route.clone(), dialog, behind.requests(role, "POST", &route, 201, 1))
}

/// The client leaves it at that.
fn closed(role: Role) -> Case {
    let route = format!("/{}-left-at-that", role.word());
    let dialog = Dialog::default()
        .client(expecting(&route, "Content-Length: 1000"))
        .server(answered(417, 4))
        .closed_by(Server);
    role.case(route.clone(), dialog, Expected::nothing().requests(role, "POST", &route, 417, 1))
}
