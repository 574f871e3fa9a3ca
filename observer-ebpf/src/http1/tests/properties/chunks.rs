//! Chunked bodies of random sizes, extensions and trailers, right and damaged, against a plain decoder.
//! Their end shows by the next response, which begins exactly there.

use fastrand::Rng;

use super::{
    super::decoders::{Chunked, chunked},
    any_case, body, connection, send,
};
use crate::{
    host::Connection,
    http1::state::{REQUEST, RESPONSE},
    records::exchange::Outcome,
};

/// A chunk's size, with what may be around it.
fn size_line(rng: &mut Rng, size: usize) -> String {
    const EXTENSIONS: [&str; 8] = ["", "", "", ";a", ";name=value;b", " ;q=\"a b; 0\"", "\t", " "];
    let width = rng.usize(1..6);
    let digits = any_case(rng, &format!("{size:0width$x}"));
    let long = if rng.u8(..20) == 0 { ";".repeat(rng.usize(..150)) } else { String::new() };
    let newline = if rng.u8(..10) == 0 { "\n" } else { "\r\n" };
    format!("{digits}{}{long}{newline}", rng.choice(EXTENSIONS).unwrap_or_default())
}

/// A chunked body that is right.
pub(super) fn chunked_body(rng: &mut Rng) -> Vec<u8> {
    const TRAILERS: [&str; 5] =
        ["", "", "X-Sum: 1\r\n", "Content-Length: 5\r\nTransfer-Encoding: gzip\r\n", "a: b\n c\nlong: "];
    let mut bytes = vec![];
    for _ in 0..rng.usize(..6) {
        let most = [3, 40, 300, 5000][rng.usize(..4)];
        let size = rng.usize(1..=most);
        bytes.extend(size_line(rng, size).bytes());
        bytes.extend(body(rng, size));
        bytes.extend(b"\r\n");
    }
    bytes.extend(size_line(rng, 0).bytes());
    let trailer = *rng.choice(&TRAILERS).unwrap();
    bytes.extend(trailer.bytes());
    if trailer.ends_with(' ') {
        bytes.extend(vec![b'x'; rng.usize(..700)]);
        bytes.extend(b"\r\n");
    }
    bytes.extend(if rng.u8(..10) == 0 { b"\n".as_slice() } else { b"\r\n" });
    bytes
}

/// A connection that has asked twice, and is in the body of the first answer.
fn in_a_chunked_body(rng: &mut Rng) -> Connection {
    let connection = connection(rng);
    send(rng, &connection, REQUEST, b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
    send(rng, &connection, RESPONSE, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    connection
}

#[test]
fn chunked_bodies_have_the_length_and_end_that_a_plain_decoder_finds() {
    let mut rng = Rng::with_seed(21);
    for case in 0..3000 {
        let chunks = chunked_body(&mut rng);
        let Chunked::Complete { bytes, end } = chunked(&chunks) else { panic!("{}", chunks.escape_ascii()) };
        assert_eq!(end, chunks.len());
        let connection = in_a_chunked_body(&mut rng);
        let answer = [&chunks, b"HTTP/1.1 299 OK\r\nContent-Length: 3\r\n\r\nabc".as_slice()].concat();
        send(&mut rng, &connection, RESPONSE, &answer);
        let found: Vec<_> =
            connection.exchanges().iter().map(|one| (one.status, one.response_bytes)).collect();
        assert_eq!(found, [(200, bytes), (299, 3)], "case {case}: {}", answer.escape_ascii());
        assert_eq!(connection.lost(), 0);
    }
}

#[test]
fn damaged_chunks_are_lost_where_a_plain_decoder_finds_no_body() {
    let mut rng = Rng::with_seed(22);
    let (mut malformed, mut complete) = (0, 0);
    for case in 0..3000 {
        let mut chunks = chunked_body(&mut rng);
        let at = rng.usize(..chunks.len().min(60));
        match rng.u8(..3) {
            0 => chunks[at] = *rng.choice(b"0fG;\r\n -+\0").unwrap(),
            1 => drop(chunks.remove(at)),
            _ => chunks.insert(at, *rng.choice(b"0fG;\r\n -+\0").unwrap()),
        }
        let connection = in_a_chunked_body(&mut rng);
        send(&mut rng, &connection, RESPONSE, &chunks);
        let found: Vec<_> = connection.exchanges().iter().map(|one| one.response_bytes).collect();
        let expected = chunked(&chunks);
        let shown = || format!("case {case}: {}", chunks.escape_ascii());
        match expected {
            // What is behind the end is no response.
            Chunked::Complete { bytes, .. } => {
                complete += 1;
                assert_eq!(found.first(), Some(&bytes), "{}", shown());
            }
            Chunked::Incomplete => assert_eq!((&found[..], connection.lost()), (&[][..], 0), "{}", shown()),
            Chunked::Malformed => {
                malformed += 1;
                // The server broke off in its middle, and the answer behind it cannot be told any more.
                let outcomes: Vec<_> = connection.exchanges().iter().map(|one| one.outcome).collect();
                assert_eq!(
                    (&outcomes[..], connection.lost()),
                    (&[Outcome::ServerAbort as u8][..], 1),
                    "{}",
                    shown()
                );
            }
        }
    }
    assert!(malformed > 300 && complete > 300, "{malformed} malformed, {complete} complete");
}

#[test]
fn chunks_in_any_order_give_the_same_or_are_counted_as_lost() {
    let mut rng = Rng::with_seed(23);
    let mut right = 0;
    for case in 0..3000 {
        let chunks = chunked_body(&mut rng);
        let Chunked::Complete { bytes, .. } = chunked(&chunks) else { panic!("{}", chunks.escape_ascii()) };
        let connection = in_a_chunked_body(&mut rng);
        let first = super::super::next(&connection, RESPONSE);
        let mut segments = super::segments(&mut rng, chunks.len());
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..segments.len());
            let other = rng.usize(at..(at + 3).min(segments.len()));
            segments.swap(at, other);
        }
        for (offset, length) in segments {
            let sequence = first.wrapping_add(u32::try_from(offset).unwrap());
            connection.segment(RESPONSE, sequence, &chunks[offset..offset + length], 5);
        }
        connection.closed(Outcome::Reset, 9);
        let found: Vec<_> =
            connection.exchanges().iter().map(|one| (one.response_bytes, one.outcome)).collect();
        if connection.lost() == 0 {
            right += 1;
            assert_eq!(found[0], (bytes, Outcome::Completed as u8), "case {case}: {}", chunks.escape_ascii());
        } else {
            assert!(found.iter().all(|one| one.1 != Outcome::Completed as u8), "case {case}");
        }
    }
    assert!(right > 1000, "{right}");
}
