//! Response heads as httparse reads them: status, kind and end of the body, and where the head ends.
//! The end of the first message shows by the second one, which is behind it.

use fastrand::Rng;

use super::{
    super::decoders::{self, Framing},
    body, chunks, connection,
    fields::{Fields, fields},
    send,
};
use crate::{
    http1::state::{REQUEST, RESPONSE},
    records::exchange::{Body, Outcome},
};

/// A response's head, and what it says.
struct Response {
    head: Vec<u8>,
    status: u16,
    fields: Fields,
    /// Its first line is not of HTTP/1.x.
    is_foreign: bool,
}

fn response(rng: &mut Rng) -> Response {
    let status = *rng.choice(&[200, 201, 204, 206, 301, 304, 404, 429, 500, 599, 999]).unwrap();
    let newline = if rng.u8(..8) == 0 { "\n" } else { "\r\n" };
    let reason = *rng.choice(&["", " ", " OK", " Not Found", " 200 \u{e9}", " HTTP/1.1 500 x"]).unwrap();
    let (first, is_foreign) = match rng.u8(..60) {
        0 => (format!("HTTP/1.1 {status}0{reason}"), true),
        1 => (format!("HTTP/1.1 {status}x{reason}"), true),
        2 => (format!("HTTP/1.1  {status}{reason}"), true),
        3 => (format!("HTTP/2.0 {status}{reason}"), true),
        4 => (format!("HTTP/1.1 2e0{reason}"), true),
        5..10 => (format!("HTTP/1.0 {status}{reason}"), false),
        10 => (format!("HTTP/1.1 {status} {}", "long ".repeat(rng.usize(..150))), false),
        _ => (format!("HTTP/1.1 {status}{reason}"), false),
    };
    let fields = fields(rng);
    let mut head = format!("{first}{newline}").into_bytes();
    head.extend(&fields.bytes);
    Response { head, status, fields, is_foreign }
}

/// What comes before an answer, and is none.
const INTERIM: [&str; 4] = [
    "",
    "",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 7\r\n\r\nHTTP/1.1 102 P\n\n",
];

#[test]
fn responses_are_read_as_httparse_reads_them() {
    let mut rng = Rng::with_seed(12);
    let mut config = httparse::ParserConfig::default();
    config.allow_obsolete_multiline_headers_in_responses(true);
    let (mut accepted, mut rejected, mut lost) = (0, 0, 0);
    for case in 0..6000 {
        let response = response(&mut rng);
        let mut space = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut space);
        let mut framing = response.fields.framing;
        let shown = || format!("case {case}: {}", response.head.escape_ascii());
        let is_accepted = config.parse_response(&mut parsed, &response.head).is_ok_and(|status| {
            assert_eq!(status, httparse::Status::Complete(response.head.len()), "{}", shown());
            true
        });
        if is_accepted {
            accepted += 1;
            assert_eq!(parsed.code, Some(response.status), "{}", shown());
            // A folded length or coding is taken by some and ignored by others, so the framer does not read it.
            if !response.fields.is_folded {
                framing = decoders::framing(parsed.headers);
            }
            assert_eq!(framing, response.fields.framing, "{}", shown());
        } else {
            rejected += 1;
        }
        let is_head = rng.u8(..10) == 0;
        let is_bodiless = is_head || matches!(response.status, 204 | 304);
        let body = match framing {
            _ if is_bodiless => vec![],
            Framing::Length(length) => body(&mut rng, usize::try_from(length).unwrap()),
            Framing::Chunked => chunks::chunked_body(&mut rng),
            _ => vec![],
        };
        let connection = connection(&mut rng);
        let method = if is_head { "HEAD" } else { "GET" };
        let asked = format!("{method} /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
        send(&mut rng, &connection, REQUEST, asked.as_bytes());
        let second = b"HTTP/1.1 298 OK\r\nContent-Length: 7\r\n\r\nseventh".as_slice();
        let interim = rng.choice(INTERIM).unwrap().as_bytes();
        send(&mut rng, &connection, RESPONSE, &[interim, &response.head, &body, second].concat());
        connection.fin(RESPONSE, 9);

        let found = connection.exchanges();
        let is_ambiguous = framing == Framing::Ambiguous;
        if response.is_foreign || is_ambiguous {
            assert!(found.is_empty(), "{}", shown());
            // Behind one that cannot be told from others, none can.
            assert_eq!(connection.lost(), 2, "{}", shown());
            lost += 1;
            continue;
        }
        let kind = match framing {
            _ if is_bodiless => Body::Known,
            _ if response.fields.content_type.starts_with("text/event-stream") => Body::Sse,
            _ if response.fields.content_type == "application/x-ndjson" => Body::Ndjson,
            Framing::Length(_) => Body::Known,
            _ => Body::Unknown,
        };
        let until_close = !is_bodiless && matches!(framing, Framing::Unsaid | Framing::Coded);
        let bytes = match decoders::chunked(&body) {
            _ if until_close => second.len() as u64,
            decoders::Chunked::Complete { bytes, .. } if framing == Framing::Chunked => bytes,
            _ => body.len() as u64,
        };
        let first = found.first().map(|one| (one.status, one.response_bytes, one.body, one.outcome));
        let expected = (response.status, bytes, kind as u8, Outcome::Completed as u8);
        assert_eq!(first, Some(expected), "{}", shown());
        let second = found.get(1).map(|one| (one.status, one.response_bytes, one.index));
        // Behind a body until close the second request is never answered.
        let expected = if until_close { (0, 0, 1) } else { (298, 7, 1) };
        assert_eq!(second, Some(expected), "{}", shown());
        assert_eq!(connection.lost(), 0, "{}", shown());
    }
    assert!(
        accepted > 4000 && rejected > 100 && lost > 300,
        "{accepted} accepted, {rejected} rejected, {lost} lost"
    );
}
