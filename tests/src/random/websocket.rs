//! WebSockets: messages in a burst in both directions, of one frame or many, with pings among them (RFC 6455).
//! What counts are messages and their bytes; control frames are none.

use super::{
    conversation::Builder,
    exchange::Exchange,
    flow::{End, Flow},
    kinds::Kind,
    message::Content,
    tally::{Cell, Counts},
};

/// The key of RFC 6455 section 1.3, and what it is answered with.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Bytes of all messages in one direction from which on they are small.
const LARGE: usize = 400_000;
/// Bytes of a message at most.
const LONGEST: usize = 100 * 1024;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;

/// Messages of one direction.
#[derive(Default)]
struct Burst {
    bytes: Vec<u8>,
    messages: u64,
    payload: u64,
}

/// A WebSocket of up to `most` messages each way.
pub(super) fn take(builder: &mut Builder, kind: Kind, most: usize) {
    let mut handshake = Exchange::new(kind, &["GET"], builder);
    handshake.status = 101;
    let upgrade = |name| [("Upgrade", "websocket".to_owned()), ("Connection", "Upgrade".to_owned()), name];
    handshake.request_fields.extend(upgrade(("Sec-WebSocket-Key", KEY.to_owned())));
    handshake.request_fields.push(("Sec-WebSocket-Version", "13".to_owned()));
    handshake.response_fields.extend(upgrade(("Sec-WebSocket-Accept", ACCEPT.to_owned())));
    let (messages, cell) = handshake.unentered(builder);
    let cell = Cell { stream: Some("websocket".to_owned()), ..cell };
    builder.ask(&messages.request);
    builder.answer(&messages.response);
    let opened = builder.server.bytes.len();
    let (up, down) = (burst(builder, most, true), burst(builder, most, false));
    // The server's first messages may be in the segment of its head.
    builder.server.go_on(&down.bytes);
    builder.client.say(&up.bytes, opened, std::time::Duration::ZERO);
    let counts = Counts {
        exchanges: 1,
        request_bytes: up.payload,
        response_bytes: down.payload,
        sent: down.messages,
        received: up.messages,
    };
    builder.enter(cell, counts);
    builder.tell(kind, &format!("{} messages there and {} back", up.messages, down.messages));
    close(builder, opened);
}

/// Either side says goodbye first, when it has all messages or at once; the server closes the connection.
fn close(builder: &mut Builder, opened: usize) {
    let goodbye = |builder: &mut Builder, masked| {
        let mut bytes = Vec::new();
        frame(builder, FIN | CLOSE, masked, &1000_u16.to_be_bytes(), &mut bytes);
        bytes
    };
    let (from_client, from_server) = (goodbye(builder, true), goodbye(builder, false));
    let at_once = builder.rng.bool();
    let said = |flow: &Flow| flow.bytes.len();
    let zero = std::time::Duration::ZERO;
    let (asked, answered) = (said(&builder.client), said(&builder.server));
    if builder.rng.bool() {
        builder.client.say(&from_client, if at_once { opened } else { answered }, zero);
        builder.server.say(&from_server, said(&builder.client), zero);
    } else {
        builder.server.say(&from_server, if at_once { 0 } else { asked }, zero);
        builder.client.say(&from_client, said(&builder.server), zero);
    }
    builder.over(End::Other, End::Received(said(&builder.client)));
}

fn burst(builder: &mut Builder, most: usize, masked: bool) -> Burst {
    let mut burst = Burst::default();
    // In some, all are alike and small: then the most of them are in a segment.
    let small = builder.rng.bool();
    for _ in 0..builder.logarithmic(0, most) {
        let length = if small || burst.bytes.len() > LARGE {
            builder.rng.usize(0..30)
        } else if builder.once_in(50) {
            builder.logarithmic(0, LONGEST)
        } else {
            builder.logarithmic(0, 2000)
        };
        message(builder, length, masked, &mut burst);
    }
    burst
}

/// A message of one frame or of some, with control frames before and within it.
fn message(builder: &mut Builder, length: usize, masked: bool, burst: &mut Burst) {
    let mut payload = Vec::with_capacity(length);
    Content::Letters.write(length, &mut builder.rng, &mut payload);
    let frames = if builder.once_in(8) { builder.rng.usize(1..6) } else { 1 };
    let mut opcode = if builder.rng.bool() { TEXT } else { BINARY };
    let mut rest = payload.as_slice();
    for number in 1..=frames {
        if builder.once_in(15) {
            let (kind, length) = (if builder.rng.bool() { PING } else { PONG }, builder.rng.usize(0..126));
            frame(builder, FIN | kind, masked, &vec![b'p'; length], &mut burst.bytes);
        }
        let part = if number == frames { rest.len() } else { builder.rng.usize(0..=rest.len()) };
        let (now, later) = rest.split_at(part);
        frame(builder, if number == frames { FIN } else { 0 } | opcode, masked, now, &mut burst.bytes);
        (rest, opcode) = (later, 0);
    }
    burst.messages += 1;
    burst.payload += length as u64;
}

/// One frame.
fn frame(builder: &mut Builder, first: u8, masked: bool, payload: &[u8], bytes: &mut Vec<u8>) {
    let mask_bit = if masked { 0x80 } else { 0 };
    bytes.push(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => bytes.push(mask_bit | length),
        (_, Ok(length)) => {
            bytes.push(mask_bit + 126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(mask_bit + 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    if masked {
        let mask = builder.rng.u32(..).to_ne_bytes();
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        bytes.extend(payload);
    }
}
