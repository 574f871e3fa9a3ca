//! A client that has asked shuts its writing side and goes on reading: it is still there (RFC 9112 section 9.6).
//! The answer comes 200 ms later and counts as what it is, with its time.

use crate::{
    corners::{
        case::{Case, Role},
        expected::Expected,
        said::{CHUNKED, EVENTS, LAST, answered, chunk, get, posted},
    },
    http::dialog::{
        Deed, Dialog,
        Side::{Client, Server},
    },
};

/// How long the server takes, in milliseconds.
const TAKES: u64 = 200;
/// What it may take at least and at most, in seconds, on a machine that is busy or emulated.
const LEAST: f64 = 0.19;
const MOST: f64 = 20.0;

/// Both roles.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for role in Role::BOTH {
        cases.extend([
            one(role, "length", &[&answered(200, 9)]),
            one(role, "chunked", &[CHUNKED, &chunk("hello"), LAST]),
            one(role, "until-close", &["HTTP/1.1 200 OK\r\n\r\nhello"]),
            one(role, "until-close-old", &["HTTP/1.0 200 OK\r\n\r\n", "hello", "again"]),
            upload(role),
            pipeline(role),
            late(role),
        ]);
        cases.extend(
            [("events", true), ("events-until-close", false)]
                .map(|(word, chunked)| events(role, word, chunked)),
        );
    }
    cases
}

/// The client asks and shuts its side; the server says `pieces` later and closes.
fn answered_late(request: &str, pieces: &[&str]) -> Dialog {
    let asking = Dialog::default().client(request).act(Client, Deed::Close).act(Server, Deed::Pause(TAKES));
    pieces.iter().fold(asking, Dialog::server).act(Server, Deed::Close)
}

fn one(role: Role, word: &str, pieces: &[&str]) -> Case {
    let route = format!("/{}-{word}", role.word());
    let expected =
        Expected::nothing().requests(role, "GET", &route, 200, 1).seconds(role, "GET", &route, LEAST, MOST);
    role.case(route.clone(), answered_late(&get(&route), pieces), expected)
}

/// With a body, in one segment with the head.
fn upload(role: Role) -> Case {
    let route = format!("/{}-upload", role.word());
    let request = posted(&route, "Content-Length: 6\r\n", "upload");
    let expected =
        Expected::nothing().requests(role, "POST", &route, 201, 1).seconds(role, "POST", &route, LEAST, MOST);
    role.case(route, answered_late(&request, &[&answered(201, 3)]), expected)
}

/// Three requests before the side is shut.
fn pipeline(role: Role) -> Case {
    let route = format!("/{}-pipeline", role.word());
    let answers = [answered(200, 3), answered(201, 0), answered(410, 5)];
    let pieces: Vec<&str> = answers.iter().map(String::as_str).collect();
    let expected = Expected::nothing()
        .requests(role, "GET", &route, 200, 1)
        .requests(role, "GET", &route, 201, 1)
        .requests(role, "GET", &route, 410, 1)
        .seconds(role, "GET", &route, 3.0 * LEAST, 3.0 * MOST);
    role.case(route.clone(), answered_late(&get(&route).repeat(3), &pieces), expected)
}

/// The side is shut in the middle of the answer, which then comes to its end.
fn late(role: Role) -> Case {
    let route = format!("/{}-late", role.word());
    let dialog = Dialog::default()
        .client(get(&route))
        .server([CHUNKED, &chunk("hello")].concat())
        .act(Client, Deed::Close)
        .act(Server, Deed::Pause(TAKES))
        .server([&chunk("again"), LAST].concat())
        .act(Server, Deed::Close);
    let expected =
        Expected::nothing().requests(role, "GET", &route, 200, 1).seconds(role, "GET", &route, LEAST, MOST);
    role.case(route, dialog, expected)
}

/// A stream of three events, which ends by its last chunk or with the connection.
fn events(role: Role, word: &str, chunked: bool) -> Case {
    let route = format!("/{}-{word}", role.word());
    let event = |number: u32| {
        let text = format!("data: {number}\n\n");
        if chunked { chunk(&text) } else { text }
    };
    let (head, end) = if chunked {
        (EVENTS, LAST)
    } else {
        ("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", "")
    };
    let dialog = Dialog::default()
        .client(get(&route))
        .act(Client, Deed::Close)
        .act(Server, Deed::Pause(TAKES))
        .server(head)
        .server(event(1))
        .server(event(2))
        .server(event(3) + end)
        .act(Server, Deed::Close);
    let expected = match role {
        Role::Server => Expected::nothing()
            .streams("sse", &route, 200, "completed", 1)
            .stream_seconds("sse", &route, LEAST, MOST)
            .first_events("sse", &route, 1, LEAST, MOST)
            .messages("sse", &route, 3, 0),
        Role::Client => Expected::nothing()
            .requests(role, "GET", &route, 200, 1)
            .seconds(role, "GET", &route, LEAST, MOST),
    };
    role.case(route, dialog, expected)
}
