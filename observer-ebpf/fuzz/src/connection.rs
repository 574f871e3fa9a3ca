//! Both sides of a connection in arbitrary segments and order, with FINs and closes between them.
//! Input: flags, how many bytes are the client's, how many steps, the steps of five bytes each, then what both send.

use observer_ebpf::{
    framer::{REQUEST, RESPONSE},
    host::Connection,
    records::exchange::Outcome,
};

use crate::{check, check_same, number, send};

/// Most steps of one input.
const STEPS: usize = 64;

/// Fails if counters exceed the bytes given, or exchanges the requests, or a cut in two makes a difference.
pub fn connection(mut bytes: &[u8]) {
    let (flags, client, steps) = (number(&mut bytes), number(&mut bytes), number(&mut bytes));
    let (mut steps, streams) = bytes.split_at((steps % STEPS * 5).min(bytes.len()));
    let (received, sent) = streams.split_at(client.min(streams.len()));
    let streams = [received, sent];

    let start = u32::MAX - 200;
    let connection =
        if flags & 1 == 0 { Connection::new(start, start) } else { Connection::preexisting(start, start) };
    let mut next = [0, 0];
    let (mut segments, mut now_ns) = (0, 0);
    while let [kind, rest @ ..] = steps {
        steps = rest;
        now_ns += 1_000;
        let (offset, length) = (number(&mut steps), number(&mut steps));
        let side = u32::from(kind & 1);
        let stream = streams[side as usize];
        match kind >> 1 {
            0 => connection.fin(side, now_ns),
            1 => connection.closed(Outcome::Timeout, now_ns),
            // In order, or anywhere.
            kind => {
                let from = if kind & 3 != 0 { next[side as usize] } else { offset.min(stream.len()) };
                let to = (from + length % 2000).min(stream.len());
                next[side as usize] = next[side as usize].max(to);
                if from < to {
                    segments += 1;
                    connection.segment(side, start.wrapping_add(from as u32), &stream[from..to], now_ns);
                }
            }
        }
        check(&connection);
    }
    connection.closed(Outcome::Reset, now_ns);
    check(&connection);
    let exchanges = connection.exchanges();
    let total = |count: fn(&_) -> u64| exchanges.iter().map(count).fold(0, u64::saturating_add);
    assert!(total(|one| one.request_bytes) <= received.len() as u64, "more bytes than the client sent");
    assert!(total(|one| one.response_bytes) <= sent.len() as u64, "more bytes than the server sent");
    assert!(total(|one| u64::from(one.sent)) <= (sent.len() + segments) as u64, "more events than bytes");
    assert!(total(|one| u64::from(one.received)) <= received.len() as u64, "more messages than bytes");

    let [whole, cut] = [0, flags >> 1].map(|cut| {
        let connection = Connection::default();
        send(&connection, REQUEST, received, cut);
        send(&connection, RESPONSE, sent, cut);
        connection.closed(Outcome::Reset, 9);
        check(&connection);
        connection
    });
    check_same(&whole, &cut, streams);
}
