//! Server-sent events as WHATWG HTML section 9.2.6 reads them: lines end with \r, \n or both, and what has data is an event.
//! Comments, and blocks of `id`, `retry` or `event` alone, are none, and do not end the wait for the first.

use crate::{
    corners::{
        case::Case,
        expected::Expected,
        said::{EVENTS, LAST, chunk, get},
    },
    http::dialog::{
        Deed, Dialog,
        Side::{Client, Server},
    },
};

/// Before the first event, in milliseconds; what that may be in seconds.
const WAITS: u64 = 250;
const LEAST: f64 = 0.24;
const MOST: f64 = 20.0;

/// A word; chunks that come at once and are no events; chunks that come later and are one each.
type Stream = (&'static str, &'static [&'static str], &'static [&'static str]);

const STREAMS: &[Stream] = &[
    ("plain", &[], &["data: x\n\n", "data:x\n\n", "data: x\r\n\r\n"]),
    ("carriage-returns", &[": alive\r\r", ":\r\r"], &["data: x\r\r", "data: y\r\r", "event: e\rdata: y\r\r"]),
    (
        "comment-in-front",
        &[": alive\n\n"],
        &[": alive\n\ndata: x\n\n", ": alive\ndata: x\n\n", ":\n\ndata: y\n\n"],
    ),
    (
        "comment-in-front-returns",
        &[":\r\r"],
        &[": alive\r\rdata: x\r\r", ":\rdata: x\r\r", ":\r\n\r\ndata: x\r\n\r\n"],
    ),
    ("comments-in-front", &[":\n:\n:\n\n"], &[":1\n:2\n:3\n\n:4\n\ndata: x\n\n"]),
    ("only-id", &["id: 1\n\n", "id\n\n", "id:2\r\r"], &["id: 3\ndata: x\n\n", "data: x\nid: 4\n\n"]),
    ("only-retry", &["retry: 1000\n\n", "retry: 1000\r\n\r\n"], &["retry: 5\ndata: x\n\n"]),
    ("only-event", &["event: hello\n\n", "event: a\nid: 4\n\n"], &["event: hello\ndata: x\n\n"]),
    ("id-retry-and-comment", &["id: 1\nretry: 5\n: c\n\n"], &["id: 1\nretry: 5\n: c\nevent: e\ndata: x\n\n"]),
    (
        "other-fields",
        &["database: x\n\n", "dat: x\n\n", "foo: data: x\n\n", " data: x\n\n"],
        &["foo: y\ndata: x\n\n"],
    ),
    (
        "two-blocks",
        &["id: 1\n\nretry: 3\n\n"],
        &["id: 1\n\ndata: x\n\n", "\n\ndata: x\n\n", "\r\rdata: x\r\r"],
    ),
    ("no-value", &["\n", "\n\n"], &["data\n\n", "data:\n\n"]),
];

/// With the target as the server: of what it calls events are not counted.
pub fn all() -> Vec<Case> {
    STREAMS.iter().map(stream).chain([marked(), late_in_a_long_chunk()]).collect()
}

fn stream((word, others, events): &Stream) -> Case {
    case(word, others, events)
}

fn case(word: &str, others: &[&str], events: &[&str]) -> Case {
    let route = format!("/events-{word}");
    let says = |dialog: Dialog, text: &&str| dialog.server(chunk(text));
    let dialog = Dialog::default().client(get(&route)).server(EVENTS);
    let dialog = others.iter().fold(dialog, says).act(Server, Deed::Pause(WAITS));
    let dialog = events.iter().fold(dialog, says).server(LAST).closed_by(Client);
    let bytes: usize = others.iter().chain(events).map(|text| text.len()).sum();
    let expected = Expected::nothing()
        .streams("sse", &route, 200, "completed", 1)
        .messages("sse", &route, events.len() as u64, 0)
        .stream_bytes("sse", &route, bytes as u64, 0)
        .first_events("sse", &route, 1, LEAST, MOST);
    Case::served(route, dialog, expected)
}

/// A byte order mark may stand in front of all.
fn marked() -> Case {
    case("byte-order-mark", &[], &["\u{feff}data: x\n\n"])
}

/// Comments of a hundred lines in front of the data.
fn late_in_a_long_chunk() -> Case {
    case("long-comment", &[], &[&format!("{}data: x\n\n", ": keep-alive\n".repeat(100))])
}
