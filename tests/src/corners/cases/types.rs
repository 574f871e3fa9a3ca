//! Media types of bodies of which every line is JSON, as servers call them: each is a stream of that kind.
//! Beside them types that only look like them.

use crate::{
    corners::{
        case::{Case, Role},
        expected::Expected,
        said::{LAST, answered, chunk, get},
    },
    http::dialog::{Dialog, Side::Client},
};

const LINES: [(&str, &str); 13] = [
    ("x-ndjson", "application/x-ndjson"),
    ("ndjson", "application/ndjson"),
    ("jsonl", "application/jsonl"),
    ("x-jsonl", "application/x-jsonl"),
    ("stream-json", "application/stream+json"),
    ("json-seq", "application/json-seq"),
    ("jsonlines", "application/jsonlines"),
    ("x-jsonlines", "application/x-jsonlines"),
    ("x-json-stream", "application/x-json-stream"),
    ("text-ndjson", "text/x-ndjson"),
    ("parameter", "application/stream+json;charset=UTF-8"),
    ("parameter-blank", "text/x-ndjson ; charset=utf-8"),
    ("capital", "Application/JSON-Seq"),
];

/// Which are none.
const OTHERS: [(&str, &str); 4] = [
    ("json", "application/json"),
    ("json-sequence", "application/json-sequences"),
    ("stream-jsonp", "application/stream+jsonp"),
    ("text", "text/x-ndjsonl"),
];

/// With the target as the server.
pub fn all() -> Vec<Case> {
    let lines = LINES.iter().map(|(word, kind)| {
        let route = format!("/lines-{word}");
        let expected = Expected::nothing()
            .streams("ndjson", &route, 200, "completed", 1)
            .messages("ndjson", &route, 3, 0);
        of_type(&route, kind, expected)
    });
    let others = OTHERS.iter().map(|(word, kind)| {
        let route = format!("/other-{word}");
        of_type(&route, kind, Expected::nothing().requests(Role::Server, "GET", &route, 200, 1))
    });
    lines.chain(others).collect()
}

fn of_type(route: &str, kind: &str, expected: Expected) -> Case {
    let record = |number: u32| {
        // RFC 7464 section 2.2.
        let mark = if kind.to_ascii_lowercase().contains("json-seq") { "\u{1e}" } else { "" };
        chunk(&format!("{mark}{{\"number\":{number}}}\n"))
    };
    let behind = format!("{route}/behind");
    let dialog = Dialog::default()
        .client(get(route))
        .server(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"))
        .server(record(1))
        .server(record(2))
        .server(record(3))
        .server(LAST)
        .client(get(&behind))
        .server(answered(410, 0))
        .closed_by(Client);
    Case::served(route, dialog, expected.requests(Role::Server, "GET", &behind, 410, 1))
}
