//! What must hold of the HTTP framer for any bytes: one module per fuzz target.
//! A check panics where it does not; the decoders are those of the framer's own tests.

pub mod chunks;
pub mod connection;
#[path = "../../src/http1/tests/decoders.rs"]
mod decoders;
pub mod heads;
pub mod websocket;

use observer_ebpf::{
    framer::{REQUEST, RESPONSE},
    host::Connection,
    http1::state::CARRY,
    order::AHEAD,
    records::exchange::{Body, Exchange},
};

/// Takes a number of two bytes from the beginning of `bytes`; 0 at their end.
fn number(bytes: &mut &[u8]) -> usize {
    let Some((number, rest)) = bytes.split_first_chunk() else { return 0 };
    *bytes = rest;
    usize::from(u16::from_le_bytes(*number))
}

/// Sends `bytes` of one side in two segments, or in one if `cut` is 0.
fn send(connection: &Connection, side: u32, bytes: &[u8], cut: usize) {
    let (first, second) = bytes.split_at(if bytes.is_empty() { 0 } else { cut % bytes.len() });
    for part in [first, second] {
        let next = connection.next(side);
        if !part.is_empty() {
            connection.segment(side, next, part, 5);
        }
    }
}

/// What must hold of any connection, whatever it was given.
fn check(connection: &Connection) {
    let exchanges = connection.exchanges();
    assert!(exchanges.len() <= connection.state().requests as usize, "more exchanges than requests");
    for half in &connection.state().halves {
        assert!(half.carried <= CARRY, "{half:?}");
    }
    for side in [REQUEST, RESPONSE] {
        let order = connection.order_of(side);
        assert!(usize::from(order.waiting) <= AHEAD, "{order:?}");
    }
}

/// Fails if two connections differ that were given the same bytes, cut in other places. What was lost, or is longer than
/// what is kept of a line, may differ.
fn check_same(one: &Connection, other: &Connection, streams: [&[u8]; 2]) {
    const SHORT: usize = 190;
    let is_short = |stream: &[u8]| stream.split(|byte| *byte == b'\n').all(|line| line.len() < SHORT);
    let is_certain = |connection: &Connection| connection.lost() == 0 && !connection.is_given_up();
    if is_certain(one) && is_certain(other) && streams.into_iter().all(is_short) {
        let (one, other): (Vec<_>, Vec<_>) =
            (one.exchanges().iter().map(known).collect(), other.exchanges().iter().map(known).collect());
        assert_eq!(one, other, "cut in another place");
    }
}

/// What must not depend on where segments were cut.
fn known(exchange: &Exchange) -> impl PartialEq + std::fmt::Debug + use<> {
    let sent = if exchange.body == Body::WebSocket as u8 { exchange.sent } else { 0 };
    let path = exchange.path[..usize::from(exchange.path_length)].to_vec();
    (
        (exchange.method, path, exchange.status, exchange.body, exchange.outcome),
        (exchange.request_bytes, exchange.response_bytes, sent, exchange.received, exchange.close_code),
        (exchange.index, exchange.flags),
    )
}
