//! Header fields as RFC 9110 allows them: any number of blanks around a value (section 5.6.3), and odd targets.
//! Each says how long a body is, so that what comes behind it shows whether it was understood.

use crate::{
    corners::{
        case::{Case, Role},
        expected::Expected,
        said::{answered, asked, get, posted},
    },
    http::dialog::{Dialog, Side::Client},
};

/// Fields, all of which say the same as the plain one.
const LENGTHS: [(&str, &str); 8] = [
    ("behind", "Content-Length: 2         \r\n"),
    ("before", "Content-Length:         2\r\n"),
    ("both", "Content-Length:         2         \r\n"),
    ("tabs", "Content-Length:\t\t\t2\t\t\t\r\n"),
    ("many", "Content-Length:                                                 2\r\n"),
    ("many-behind", "Content-Length: 2                                                 \r\n"),
    ("none", "Content-Length:2\r\n"),
    ("zeros", "Content-Length: 000000002\r\n"),
];

const CODINGS: [(&str, &str); 6] = [
    ("chunked-two-behind", "Transfer-Encoding: chunked  \r\n"),
    ("chunked-nine-behind", "Transfer-Encoding: chunked         \r\n"),
    ("chunked-nine-before", "Transfer-Encoding:         chunked\r\n"),
    ("chunked-tabs", "Transfer-Encoding:\t\tchunked\t\t\r\n"),
    (
        "chunked-many",
        "Transfer-Encoding:                                    chunked                          \r\n",
    ),
    ("chunked-capital", "TRANSFER-ENCODING: Chunked\r\n"),
];

/// Both roles, in requests and in answers.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for role in Role::BOTH {
        cases.extend(LENGTHS.map(|(word, field)| bodied(role, word, field, "ab")));
        cases.extend(CODINGS.map(|(word, field)| bodied(role, word, field, "2\r\nab\r\n0\r\n\r\n")));
        cases.push(asterisk(role));
    }
    cases.extend(
        [
            ("type-blanks", "Content-Type:         text/event-stream         \r\n"),
            ("type-parameter", "Content-Type: text/event-stream  ;  charset=utf-8\r\n"),
            ("type-tabs", "Content-Type:\t\ttext/event-stream\t\r\n"),
            ("type-capital", "CONTENT-TYPE: Text/Event-Stream;charset=UTF-8\r\n"),
        ]
        .map(|(word, field)| events(word, field)),
    );
    cases.extend(
        [
            ("upgrade-blanks", "Upgrade:         websocket         \r\n"),
            ("upgrade-capital", "UPGRADE: WebSocket\r\n"),
        ]
        .map(|(word, field)| upgraded(word, field)),
    );
    cases
}

/// The field in a request and in its answer, and an exchange behind them.
fn bodied(role: Role, word: &str, field: &str, body: &str) -> Case {
    let route = format!("/{}-{word}", role.word());
    let behind = format!("{route}/behind");
    let dialog = Dialog::default()
        .client(posted(&route, field, body))
        .server(format!("HTTP/1.1 200 OK\r\n{field}\r\n{body}"))
        .client(get(&behind))
        .server(answered(410, 1))
        .closed_by(Client);
    let mut expected =
        Expected::nothing().requests(role, "POST", &route, 200, 1).requests(role, "GET", &behind, 410, 1);
    if role == Role::Server {
        expected = expected.bodies("POST", &route, 2, 2);
    }
    role.case(route, dialog, expected)
}

/// `OPTIONS *` is about the server (RFC 9110 section 9.3.7).
fn asterisk(role: Role) -> Case {
    let dialog = Dialog::default()
        .client(asked("OPTIONS", "*"))
        .server("HTTP/1.1 204 No Content\r\nAllow: GET\r\n\r\n")
        .client(asked("OPTIONS", "/asterisk-behind"))
        .server("HTTP/1.1 204 No Content\r\nAllow: GET\r\n\r\n")
        .closed_by(Client);
    let expected = Expected::nothing().requests(role, "OPTIONS", "*", 204, 1).requests(
        role,
        "OPTIONS",
        "/asterisk-behind",
        204,
        1,
    );
    role.case("OPTIONS *", dialog, expected)
}

fn events(word: &str, field: &str) -> Case {
    let route = format!("/{word}");
    let dialog = Dialog::default()
        .client(get(&route))
        .server(format!("HTTP/1.1 200 OK\r\n{field}Transfer-Encoding: chunked\r\n\r\n"))
        .server("9\r\ndata: x\n\n\r\n")
        .server("0\r\n\r\n")
        .closed_by(Client);
    let expected =
        Expected::nothing().streams("sse", &route, 200, "completed", 1).messages("sse", &route, 1, 0);
    Case::served(route, dialog, expected)
}

fn upgraded(word: &str, field: &str) -> Case {
    let route = format!("/{word}");
    let dialog = Dialog::default()
        .client(format!(
            "GET {route} HTTP/1.1\r\nHost: corner\r\nConnection: Upgrade\r\n{field}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .server(format!("HTTP/1.1 101 Switching Protocols\r\n{field}Connection: Upgrade\r\n\r\n"))
        .server(b"\x81\x02ab")
        .client(b"\x88\x80\0\0\0\0")
        .server(b"\x88\0")
        .closed_by(Client);
    let expected = Expected::nothing().streams("websocket", &route, 101, "completed", 1).messages(
        "websocket",
        &route,
        1,
        0,
    );
    Case::served(route, dialog, expected)
}
