//! Heads of requests and responses against httparse, and against themselves cut in two.
//! Input: which side and what was asked, where to cut, then what the side sends.

use observer_ebpf::{
    framer::{REQUEST, RESPONSE},
    host::Connection,
    records::exchange::{METHODS, PATH_BYTES},
};

use crate::{
    check, check_same,
    decoders::{self, Chunked, Framing},
    number, send,
};

/// Fails if a head is read otherwise than httparse reads it, or otherwise when it is cut.
pub fn heads(mut bytes: &[u8]) {
    let (kind, cut) = (number(&mut bytes), number(&mut bytes));
    if kind & 1 == 0 { requests(bytes, cut) } else { responses(bytes, cut, kind & 2 != 0) }
}

fn requests(stream: &[u8], cut: usize) {
    let answer = b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
    let [whole, cut] = [0, cut].map(|cut| {
        let connection = Connection::default();
        send(&connection, REQUEST, stream, cut);
        send(&connection, RESPONSE, answer, 0);
        check(&connection);
        connection
    });
    check_same(&whole, &cut, [stream, answer]);
    let mut space = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut space);
    let Ok(httparse::Status::Complete(end)) = parsed.parse(stream) else { return };
    for connection in [whole, cut] {
        let (Some(found), 0) = (connection.exchanges().first().copied(), connection.lost()) else { continue };
        let method = METHODS[usize::from(found.method)];
        assert!(method == "other" || parsed.method == Some(method), "method {method}");
        let target = parsed.path.unwrap_or_default().as_bytes();
        let path = target.split(|byte| b"?#".contains(byte)).next().unwrap_or_default();
        let path = &path[..path.len().min(PATH_BYTES)];
        assert_eq!(&found.path[..usize::from(found.path_length)], path);
        let body = &stream[end..];
        let bytes = match decoders::framing(parsed.headers) {
            Framing::Unsaid => 0,
            Framing::Length(length) => length.min(body.len() as u64),
            Framing::Chunked => match decoders::chunked(body) {
                Chunked::Complete { bytes, .. } => bytes,
                Chunked::Incomplete | Chunked::Malformed => continue,
            },
            framing => panic!("{framing:?}, and it is an exchange"),
        };
        assert_eq!(found.request_bytes, bytes, "bytes of the body");
    }
}

fn responses(stream: &[u8], cut: usize, asked_for_head: bool) {
    let asked: &[u8] = if asked_for_head {
        b"HEAD /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n"
    } else {
        b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n"
    };
    let [whole, cut] = [0, cut].map(|cut| {
        let connection = Connection::default();
        send(&connection, REQUEST, asked, 0);
        send(&connection, RESPONSE, stream, cut);
        connection.fin(RESPONSE, 9);
        check(&connection);
        connection
    });
    check_same(&whole, &cut, [asked, stream]);
    let mut space = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut space);
    let Ok(httparse::Status::Complete(end)) = parsed.parse(stream) else { return };
    let status = parsed.code.unwrap_or_default();
    if status < 200 {
        return;
    }
    for connection in [whole, cut] {
        let (Some(found), 0) = (connection.exchanges().first().copied(), connection.lost()) else { continue };
        if found.status == 0 {
            // A status line that httparse alone takes for one: nothing was answered.
            continue;
        }
        assert_eq!(found.status, status);
        let body = &stream[end..];
        let bytes = match decoders::framing(parsed.headers) {
            _ if asked_for_head || matches!(status, 204 | 304) => 0,
            Framing::Length(length) => length.min(body.len() as u64),
            Framing::Chunked => match decoders::chunked(body) {
                Chunked::Complete { bytes, .. } => bytes,
                Chunked::Incomplete | Chunked::Malformed => continue,
            },
            Framing::Unsaid | Framing::Coded => body.len() as u64,
            Framing::Ambiguous => continue,
        };
        assert_eq!(found.response_bytes, bytes, "bytes of the body");
    }
}
