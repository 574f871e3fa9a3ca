//! The names that framing looks for: methods, header fields, and the values that say what a body is.
//! Compiled into tables of words at build time; to know one more field, add a line here and its case to `fields.rs`.

use super::words::Text;

/// A header field that framing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Field {
    /// How long the body is, RFC 9110 section 8.6.
    ContentLength = 0,
    /// What it is, RFC 9110 section 8.3.
    ContentType,
    /// How it is compressed, RFC 9110 section 8.4.
    ContentEncoding,
    /// How its length is told, RFC 9112 section 6.1.
    TransferEncoding,
    /// What the connection becomes, RFC 9110 section 7.8.
    Upgrade,
    /// Whether the client waits before it sends the body, RFC 9110 section 10.1.1.
    Expect,
}

/// Every field by name, in small letters, in the order of [`Field`].
pub const FIELDS: [(Field, Text); 6] = [
    (Field::ContentLength, Text::new("content-length")),
    (Field::ContentType, Text::new("content-type")),
    (Field::ContentEncoding, Text::new("content-encoding")),
    (Field::TransferEncoding, Text::new("transfer-encoding")),
    (Field::Upgrade, Text::new("upgrade")),
    (Field::Expect, Text::new("expect")),
];

/// The methods of [`crate::records::exchange::METHODS`] but for the last, each with the space behind it.
pub const METHODS: [Text; 9] = [
    Text::new("GET "),
    Text::new("HEAD "),
    Text::new("POST "),
    Text::new("PUT "),
    Text::new("DELETE "),
    Text::new("PATCH "),
    Text::new("OPTIONS "),
    Text::new("CONNECT "),
    Text::new("TRACE "),
];
/// Index of `HEAD`, whose response has no body.
pub const HEAD: u8 = 1;
/// Index of `CONNECT`, whose response makes a tunnel.
pub const CONNECT: u8 = 7;
/// Index of all others.
pub const OTHER: u8 = 9;

/// What a status line begins with; the minor version is the next byte.
pub const VERSION: Text = Text::new("HTTP/1.");
/// The media type of server-sent events.
pub const EVENT_STREAM: Text = Text::new("text/event-stream");
/// Media types of a line of JSON per event; what begins like one is one (`application/jsonlines`).
pub const NDJSON: [Text; 9] = [
    Text::new("application/x-ndjson"),
    Text::new("application/ndjson"),
    Text::new("application/jsonl"),
    Text::new("application/x-jsonl"),
    Text::new("application/stream+json"),
    Text::new("application/json-seq"),
    Text::new("application/x-json-stre"),
    Text::new("text/x-ndjson"),
    Text::new("text/ndjson"),
];
/// The encoding that is none.
pub const IDENTITY: Text = Text::new("identity");
/// What a client waits for.
pub const CONTINUE: Text = Text::new("100-continue");
/// The protocol of RFC 6455.
pub const WEBSOCKET: Text = Text::new("websocket");
/// The transfer coding of RFC 9112 section 7.1.
pub const CHUNKED: Text = Text::new("chunked");

/// Server-sent events that say only that the stream lives: Anthropic's `ping`, and the `heartbeat` of LobeHub.
pub const HEARTBEATS: [Text; 3] = [
    Text::new("event: ping"),
    Text::new("data: {\"type\":\"heartbea"),
    Text::new("data:{\"type\":\"heartbeat"),
];

/// What a chunk of server-sent events begins with (WHATWG HTML section 9.2.6), a comment among them.
pub const EVENT_FIELDS: [Text; 5] =
    [Text::new("data:"), Text::new("event:"), Text::new("id:"), Text::new("retry:"), Text::new(":")];
/// What a chunk of lines of JSON begins with.
pub const JSON: Text = Text::new("{\"");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::exchange;

    #[test]
    fn methods_are_those_of_the_record() {
        assert_eq!(exchange::METHODS[usize::from(HEAD)], "HEAD");
        assert_eq!(exchange::METHODS[usize::from(CONNECT)], "CONNECT");
        assert_eq!(exchange::METHODS[usize::from(OTHER)], "other");
        for (name, text) in exchange::METHODS.iter().zip(&METHODS) {
            assert_eq!(name.len() + 1, text.length as usize);
        }
    }
}
