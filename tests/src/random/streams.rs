//! Server-sent events and lines of JSON: chunks that hold an event, and those that hold none.
//! Formats: WHATWG HTML section 9.2 (an event is what has data), one value of JSON per line.

use super::{
    conversation::Builder,
    exchange::{Exchange, METHODS, Stream},
    kinds::Kind,
    message::{Body, Content, Decoration, Framing},
};

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";

/// Bytes of an event's data at most.
const DATA: usize = 20_000;

/// One stream of this kind.
pub(super) fn take(builder: &mut Builder, kind: Kind) {
    let mut exchange = Exchange::new(kind, &METHODS, builder).with_upload(2000, builder);
    exchange.status = builder.rng.choice([200, 200, 202]).unwrap_or(200);
    let lines = kind == Kind::Ndjson || (kind == Kind::Unframed && builder.rng.bool());
    fill(&mut exchange, lines, kind == Kind::SseCorners, builder);
    if kind == Kind::Unframed {
        exchange.answered.framing = Framing::Length;
    } else if builder.once_in(10) {
        // What is in it cannot be seen, so that each chunk counts.
        encode(&mut exchange, builder);
    }
    builder.exchange(&exchange);
}

/// Makes the answer to a last request a stream: in chunks, or until the connection is closed.
pub(super) fn last(exchange: &mut Exchange, in_chunks: bool, builder: &mut Builder) {
    exchange.status = 200;
    let lines = builder.rng.bool();
    fill(exchange, lines, false, builder);
    if !in_chunks {
        exchange.answered.framing = Framing::UntilClose;
        // Segments, and not chunks, count where there are none.
        exchange.path = "unframed";
    }
}

fn fill(exchange: &mut Exchange, lines: bool, corners: bool, builder: &mut Builder) {
    let count = builder.logarithmic(0, 300);
    let (mut parts, mut events, mut length) = (Vec::new(), 0, 0);
    while parts.len() < count && length < 4 * DATA {
        let (part, is_event) = match (lines, corners) {
            (true, _) => line(builder),
            (false, false) => event(builder),
            (false, true) => corner(builder),
        };
        events += u64::from(is_event);
        length += part.len();
        parts.push(part);
    }
    let (kind, media) = if lines { ("ndjson", LINES) } else { ("sse", EVENTS) };
    exchange.answered = Body { framing: Framing::Chunked, parts, decoration: Decoration::default() };
    exchange.stream = Some(Stream { kind, media, events });
}

/// Compresses, as far as can be seen from outside.
fn encode(exchange: &mut Exchange, builder: &mut Builder) {
    exchange.response_fields.push(("Content-Encoding", "gzip".to_owned()));
    for part in &mut exchange.answered.parts {
        builder.rng.fill(part);
    }
    if let Some(stream) = &mut exchange.stream {
        stream.events = exchange.answered.parts.len() as u64;
    }
}

fn data(builder: &mut Builder) -> Vec<u8> {
    let most = if builder.once_in(20) { DATA } else { 200 };
    let length = builder.logarithmic(0, most);
    let mut bytes = Vec::new();
    Content::Letters.write(length, &mut builder.rng, &mut bytes);
    bytes
}

/// A chunk of server-sent events, and whether it holds one.
fn event(builder: &mut Builder) -> (Vec<u8>, bool) {
    let end: &[u8] = builder.rng.choice([&b"\n"[..], b"\r\n"]).unwrap_or(b"\n");
    if builder.once_in(6) {
        let comment: &[u8] = builder.rng.choice([&b": still here"[..], b":", b""]).unwrap_or(b":");
        return ([comment, end, end].concat(), false);
    }
    let mut bytes = Vec::new();
    for _ in 0..builder.rng.usize(1..4) {
        let before: &[u8] =
            builder.rng.choice([&b""[..], b"", b"event: token", b"id: 17"]).unwrap_or_default();
        if !before.is_empty() {
            bytes.extend([before, end].concat());
        }
        bytes.extend([&b"data: "[..], &data(builder), end, end].concat());
    }
    (bytes, true)
}

/// A chunk of server-sent events of which nobody thinks.
fn corner(builder: &mut Builder) -> (Vec<u8>, bool) {
    let end: &[u8] = builder.rng.choice([&b"\r"[..], b"\r", b"\n", b"\r\n"]).unwrap_or(b"\r");
    match builder.rng.u8(0..6) {
        0 => ([b": a comment", end, end].concat(), false),
        1 => ([b"id: 12", end, end].concat(), false),
        2 => ([b"retry: 3000", end, end].concat(), false),
        3 => ([b": a comment", end, b"data: ", &data(builder), end, end].concat(), true),
        4 => ([b"retry: 3000", end, b"data: ", &data(builder), end, end].concat(), true),
        _ => ([b"data: ", &data(builder)[..], end, end].concat(), true),
    }
}

/// A chunk of lines of JSON, and whether it holds one.
fn line(builder: &mut Builder) -> (Vec<u8>, bool) {
    let end: &[u8] = builder.rng.choice([&b"\n"[..], b"\r\n"]).unwrap_or(b"\n");
    if builder.once_in(6) {
        return (end.to_vec(), false);
    }
    let mut bytes = Vec::new();
    for _ in 0..builder.rng.usize(1..4) {
        bytes.extend([&b"{\"token\":\""[..], &data(builder), b"\"}", end].concat());
    }
    (bytes, true)
}
