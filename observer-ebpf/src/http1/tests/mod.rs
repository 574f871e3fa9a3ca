//! The framer against recorded exchanges, other parsers, and everything that can happen to segments.
//! Each file is one subject; what they share is here.

mod decoders;
mod messages;
mod properties;
mod recorded;
mod segments;

use crate::{
    host::{Connection, path},
    records::exchange::Exchange,
};

/// Method, path, status, request and response bytes.
fn summary(exchange: &Exchange) -> (usize, String, u16, u64, u64) {
    (
        usize::from(exchange.method),
        path(&exchange.path, exchange.path_length),
        exchange.status,
        exchange.request_bytes,
        exchange.response_bytes,
    )
}

/// The summaries of all exchanges of a connection.
fn summaries(connection: &Connection) -> Vec<(usize, String, u16, u64, u64)> {
    connection.exchanges().iter().map(summary).collect()
}

/// The sequence number that a side goes on with.
fn next(connection: &Connection, side: u32) -> u32 {
    connection.next(side)
}
