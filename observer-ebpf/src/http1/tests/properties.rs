//! Random messages, compared with other decoders: `httparse` for heads, plain ones for chunks and WebSocket frames.
//! Seeds are fixed, so a case that fails does so again; each assertion shows its bytes.

mod chunks;
mod fields;
mod found;
mod requests;
mod responses;
mod websocket;

use crate::host::Connection;
use fastrand::Rng;

/// Offset and length of segments that carry `length` bytes in order: whole, in equal parts, or cut anywhere with parts
/// sent again.
fn segments(rng: &mut Rng, length: usize) -> Vec<(usize, usize)> {
    let most = [length, 1448, 100, 9][rng.usize(..4)].max(1);
    let repeats = rng.bool();
    let (mut segments, mut sent) = (vec![], 0);
    while sent < length {
        let end = (sent + rng.usize(1..=most)).min(length);
        let begin = if repeats && rng.u8(..3) == 0 { rng.usize(..=sent) } else { sent };
        segments.push((begin, end - begin));
        sent = end;
        if repeats && rng.u8(..4) == 0 {
            let begin = rng.usize(..sent);
            segments.push((begin, rng.usize(1..=sent - begin)));
        }
    }
    segments
}

/// Sends `bytes` in random segments, beginning with what the side expects next.
fn send(rng: &mut Rng, connection: &Connection, side: u32, bytes: &[u8]) {
    let first = super::next(connection, side);
    for (offset, length) in segments(rng, bytes.len()) {
        let sequence = first.wrapping_add(u32::try_from(offset).unwrap());
        connection.segment(side, sequence, &bytes[offset..offset + length], 5);
    }
}

/// A connection whose sequence numbers wrap at any time.
fn connection(rng: &mut Rng) -> Connection {
    Connection::new(rng.u32(u32::MAX - 4000..), rng.u32(u32::MAX - 4000..))
}

/// Text that would be read as messages and sizes if it were not passed over.
fn body(rng: &mut Rng, length: usize) -> Vec<u8> {
    let text = b"GET /body HTTP/1.1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n5\r\n0\r\n\r\n";
    let skipped = rng.usize(..text.len());
    text.iter().copied().cycle().skip(skipped).take(length).collect()
}

/// `text` with each letter in either case.
fn any_case(rng: &mut Rng, text: &str) -> String {
    text.chars()
        .map(|letter| if rng.bool() { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() })
        .collect()
}
