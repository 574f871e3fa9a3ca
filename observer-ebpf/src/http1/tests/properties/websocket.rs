//! WebSocket frames of both sides, right and damaged, against a plain decoder.
//! Fragments, control frames between them, masks, and lengths of every encoding.

use fastrand::Rng;

use super::{super::decoders::websocket, connection, send};
use crate::{
    http1::state::{REQUEST, RESPONSE},
    records::exchange::Outcome,
};

/// A frame, right but for what `kind` may say.
fn frame(rng: &mut Rng, kind: u8, length: usize, from_client: bool) -> Vec<u8> {
    let mask = if from_client { 0x80 } else { 0 };
    let mut frame = vec![kind];
    // Longer encodings than needed are no frames to some, and read all the same.
    if length < 126 && rng.u8(..10) != 0 {
        frame.push(mask | u8::try_from(length).unwrap());
    } else if length < 65_536 && rng.u8(..10) != 0 && kind & 8 == 0 {
        frame.push(mask | 0x7e);
        frame.extend(u16::try_from(length).unwrap().to_be_bytes());
    } else {
        frame.push(mask | 0x7f);
        frame.extend((length as u64).to_be_bytes());
    }
    if from_client {
        frame.extend(rng.u32(..).to_be_bytes());
    }
    let byte = rng.u8(..);
    frame.extend(std::iter::repeat_n(byte, length));
    frame
}

/// A message in fragments with control frames between them.
fn message(rng: &mut Rng, from_client: bool) -> Vec<u8> {
    let fragments = rng.u8(1..4);
    let compressed = if rng.bool() { 0x40 } else { 0 };
    let mut bytes = vec![];
    for index in 0..fragments {
        let opcode = if index == 0 { rng.u8(1..=2) | compressed } else { 0 };
        let fin = if index + 1 == fragments { 0x80 } else { 0 };
        let most = [0, 20, 125, 127, 3000, 70_000][rng.usize(..6)];
        let length = if rng.bool() { most } else { rng.usize(..=most) };
        let length = if length > 3000 && rng.u8(..8) != 0 { 3000 } else { length };
        bytes.extend(frame(rng, opcode | fin, length, from_client));
        if rng.u8(..3) == 0 {
            let (kind, length) = (rng.u8(0x89..=0x8a), rng.usize(..=125));
            bytes.extend(frame(rng, kind, length, from_client));
        }
    }
    bytes
}

/// What a side sends: messages, and perhaps a close frame with something behind it; perhaps damaged.
fn side(rng: &mut Rng, from_client: bool) -> Vec<u8> {
    let mut bytes = vec![];
    for _ in 0..rng.usize(..4) {
        bytes.extend(message(rng, from_client));
    }
    if rng.bool() {
        let length = rng.usize(..=125);
        bytes.extend(frame(rng, 0x88, length, from_client));
        bytes.extend(b"behind"[..rng.usize(..6)].iter());
    }
    if rng.u8(..4) == 0 && !bytes.is_empty() {
        let at = rng.usize(..bytes.len().min(300));
        bytes[at] = rng.u8(..);
    }
    bytes.truncate(if rng.u8(..4) == 0 { rng.usize(..=bytes.len()) } else { bytes.len() });
    bytes
}

#[test]
fn websockets_have_the_messages_that_a_plain_decoder_finds() {
    let mut rng = Rng::with_seed(31);
    let (mut closed, mut broken) = (0, 0);
    for case in 0..2000 {
        let connection = connection(&mut rng);
        send(
            &mut rng,
            &connection,
            REQUEST,
            b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        );
        send(&mut rng, &connection, RESPONSE, b"HTTP/1.1 101 Switching\r\nUpgrade: WebSocket\r\n\r\n");
        let (received, sent) = (side(&mut rng, true), side(&mut rng, false));
        let (client, server) = (websocket(&received, true), websocket(&sent, false));
        send(&mut rng, &connection, REQUEST, &received);
        send(&mut rng, &connection, RESPONSE, &sent);
        let both = client.closed && server.closed;
        if client.broken || server.broken {
            // Frames that are none have no end that could be found: all of it is lost, once.
            connection.closed(Outcome::Reset, 9);
            assert_eq!((connection.exchanges().len(), connection.lost()), (0, 1), "case {case}");
            broken += 1;
            continue;
        }
        assert_eq!(connection.exchanges().len(), usize::from(both), "case {case}");
        connection.closed(Outcome::Reset, 9);
        let [found] = connection.exchanges()[..] else { panic!("case {case}") };
        assert_eq!((found.received, found.request_bytes), (client.messages, client.bytes), "case {case}");
        assert_eq!((found.sent, found.response_bytes), (server.messages, server.bytes), "case {case}");
        let code = if client.close_code == 0 { server.close_code } else { client.close_code };
        assert_eq!((found.status, found.close_code), (101, code), "case {case}");
        let outcome = if client.closed || server.closed { Outcome::Completed } else { Outcome::Reset };
        assert_eq!(found.outcome, outcome as u8, "case {case}");
        assert_eq!(connection.lost(), u32::from(client.broken) + u32::from(server.broken), "case {case}");
        closed += u32::from(both);
        broken += u32::from(client.broken);
    }
    assert!(closed > 100 && broken > 50, "{closed} closed, {broken} broken");
}
