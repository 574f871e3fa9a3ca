//! Request heads as httparse reads them: method, path, how the body ends, and where the head does.
//! The end of the first message shows by the second one, which is behind it.

use fastrand::Rng;

use super::{
    super::{
        decoders::{self, Framing},
        summaries,
    },
    body, chunks, connection,
    fields::{Fields, fields},
    send,
};
use crate::{
    host::{Record, path},
    http1::state::{REQUEST, RESPONSE},
    records::exchange::{METHODS, PATH_BYTES},
};

/// A request, and what it says.
struct Request {
    head: Vec<u8>,
    method: String,
    path: String,
    fields: Fields,
    /// Its first line is not of HTTP/1.x as the framer wants it.
    is_foreign: bool,
}

fn target(rng: &mut Rng) -> String {
    const PARTS: [&str; 7] = ["/api", "/%20", "/\u{e9}", "/;a=b", "/v1", "/chat:x", "/HTTP/1.1"];
    let start = *rng.choice(&["/", "/", "/", "*", "http://example.org/", "HTTP://x"]).unwrap();
    let most = if rng.u8(..20) == 0 { 120 } else { 5 };
    (0..rng.usize(..most)).fold(start.to_owned(), |path, _| path + rng.choice(PARTS).unwrap())
}

fn request(rng: &mut Rng) -> Request {
    let (mut is_foreign, mut version) = (false, if rng.u8(..5) == 0 { "HTTP/1.0" } else { "HTTP/1.1" });
    let method = match rng.u8(..10) {
        0 => rng.choice(["PURGE", "M-SEARCH", "A_B", "GETS", "PROPFIND", "X"]).unwrap(),
        _ => METHODS[rng.usize(..9)],
    };
    let path = target(rng);
    let query = *rng.choice(&["", "", "?a=b", "?a?b#c", "#d", "?x=/ HTTP"]).unwrap();
    let query = query.split(' ').next().unwrap_or_default();
    let mut method = method.to_owned();
    // The version is not checked in a line that is longer than what is kept of it.
    let is_short = method.len() + path.len() + query.len() < 200;
    match rng.u8(..60) {
        0 => method = method.to_lowercase(),
        1 if is_short => {
            version = rng.choice(["HTTP/2.0", "HTTP/1.", "http/1.1", "HTTP/1.x", ""]).unwrap();
            is_foreign = true;
        }
        2 => version = "HTTP/1.7",
        _ => {}
    }
    is_foreign |= method.contains(char::is_lowercase);
    let newline = if rng.u8(..8) == 0 { "\n" } else { "\r\n" };
    let empty = if rng.u8(..10) == 0 { "\r\n" } else { "" };
    let fields = fields(rng);
    let mut head = format!("{empty}{method} {path}{query} {version}{newline}").into_bytes();
    head.extend(&fields.bytes);
    Request { head, method, path, fields, is_foreign }
}

#[test]
fn requests_are_read_as_httparse_reads_them() {
    let mut rng = Rng::with_seed(11);
    let (mut accepted, mut rejected, mut lost) = (0, 0, 0);
    for case in 0..6000 {
        let request = request(&mut rng);
        let mut space = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut space);
        let mut framing = request.fields.framing;
        let shown = || format!("case {case}: {}", request.head.escape_ascii());
        let is_accepted = parsed.parse(&request.head).is_ok_and(|status| {
            assert_eq!(status, httparse::Status::Complete(request.head.len()), "{}", shown());
            true
        });
        if is_accepted {
            accepted += 1;
            framing = decoders::framing(parsed.headers);
            assert_eq!(framing, request.fields.framing, "{}", shown());
            assert_eq!(parsed.method, Some(request.method.as_str()));
            assert!(parsed.path.unwrap().starts_with(&request.path));
        } else {
            rejected += 1;
        }
        let body = match framing {
            Framing::Length(length) => body(&mut rng, usize::try_from(length).unwrap()),
            Framing::Chunked => chunks::chunked_body(&mut rng),
            _ => vec![],
        };
        let bytes = match (framing, decoders::chunked(&body)) {
            (Framing::Chunked, decoders::Chunked::Complete { bytes, .. }) => bytes,
            _ => body.len() as u64,
        };
        let connection = connection(&mut rng);
        let sent = [&request.head, &body, b"PUT /second HTTP/1.1\r\n\r\n".as_slice()].concat();
        send(&mut rng, &connection, REQUEST, &sent);
        let answer = b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
        send(&mut rng, &connection, RESPONSE, &[answer.as_slice(), answer].concat());

        let found = summaries(&connection);
        let unreadable = matches!(framing, Framing::Ambiguous | Framing::Coded);
        if request.is_foreign || unreadable {
            assert_eq!(found, [], "{}", shown());
            // Both answers are nobody's.
            assert!(request.is_foreign || connection.lost() == 2, "{}", shown());
            lost += 1;
            continue;
        }
        let method = METHODS.iter().position(|name| *name == request.method).unwrap_or(METHODS.len() - 1);
        let cut = request.path.as_bytes();
        let cut = String::from_utf8_lossy(&cut[..cut.len().min(PATH_BYTES)]).into_owned();
        assert_eq!(found.len(), 2, "{}", shown());
        assert_eq!(found[0], (method, cut, 404, bytes, 0), "{}", shown());
        let records = connection.records();
        let Some(Record::Ahead(second)) = records.first() else { panic!("{}", shown()) };
        assert_eq!((path(&second.path, second.path_length).as_str(), second.method), ("/second", 3));
        assert_eq!(connection.lost(), 0, "{}", shown());
    }
    assert!(
        accepted > 4000 && rejected > 300 && lost > 300,
        "{accepted} accepted, {rejected} rejected, {lost} lost"
    );
}
