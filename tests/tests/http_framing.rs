//! The same shapes that `http_shapes` and `http_unknown` send over sockets, given to the framer itself, segment by
//! segment: what it must make of them is the same, however they are cut into segments. Needs neither root nor kernel.

use std::collections::BTreeSet;

use anyhow::Result;
use fastrand::Rng;
use observer_ebpf::{
    host::{Connection, path},
    records::exchange::{Exchange, METHODS, Outcome},
};
use tests::http::{
    dialog::{Act, Deed, Dialog, Side},
    ledger::{Ledger, Requests, Route},
    shapes::{self, Shape},
    strangers,
};

/// Bytes of a segment of a long body.
const SEGMENT: usize = 65_000;

/// The framer's number of a side.
const fn number(side: Side) -> u32 {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}

/// Plays a dialog to the framer, in segments of at most `longest` bytes.
fn frame(dialog: &Dialog, longest: usize) -> Result<Connection> {
    let connection = Connection::default();
    let mut now_ns = 1;
    let mut sent = [0_u32; 2];
    let mut say = |connection: &Connection, side: u32, bytes: &[u8], now_ns| -> Result<()> {
        for segment in bytes.chunks(longest) {
            connection.segment(side, sent[side as usize], segment, now_ns);
            sent[side as usize] += u32::try_from(segment.len())?;
        }
        Ok(())
    };
    for Act(side, deed) in dialog.acts() {
        now_ns += 1_000_000;
        match deed {
            Deed::Say(bytes) => say(&connection, number(*side), bytes, now_ns)?,
            Deed::Fill(count) => {
                let bytes = vec![b'x'; usize::try_from(*count)?];
                say(&connection, number(*side), &bytes, now_ns)?;
            }
            Deed::Close => connection.fin(number(*side), now_ns),
            Deed::Reset if *side == Side::Client => connection.closed(Outcome::ClientAbort, now_ns),
            Deed::Reset => connection.closed(Outcome::Reset, now_ns),
            Deed::Pause(_) => {}
        }
    }
    Ok(connection)
}

/// What the agent makes of records, as far as a status goes.
fn status(exchange: &Exchange) -> u16 {
    match exchange.status {
        0 if exchange.outcome == Outcome::ClientAbort as u8 => 499,
        status => status,
    }
}

/// The ledger of what the framer sent. Numbers at the end of a path are a route, as the agent's general rule has it.
fn ledger(connection: &Connection) -> Ledger {
    let mut ledger = Ledger::default();
    for (exchange, request) in connection.joined() {
        let (method, path) = match &request {
            Some(request) => (request.method, path(&request.path, request.path_length)),
            None => (exchange.method, path(&exchange.path, exchange.path_length)),
        };
        // One of both has the bytes of a body.
        let sent = exchange.request_bytes.max(request.map_or(0, |request| request.request_bytes));
        let route = match path.rsplit_once('/') {
            Some((folder, last)) if last.parse::<u32>().is_ok() => format!("{folder}/{{number}}"),
            _ => path,
        };
        let received = exchange.response_bytes;
        ledger.expect(METHODS[usize::from(method)], &route, status(&exchange), 1, sent, received);
    }
    ledger
}

/// Lines that differ.
fn differences(known: &Ledger, seen: &Ledger) -> Vec<String> {
    let nothing = Requests::default();
    let keys: BTreeSet<_> = known.routes().keys().chain(seen.routes().keys()).collect();
    let of = |ledger: &Ledger, key: &Route| ledger.routes().get(key).unwrap_or(&nothing).clone();
    keys.into_iter()
        .filter(|key| of(known, key) != of(seen, key))
        .map(|key| format!("{key:?}: {:?}, framed as {:?}", of(known, key), of(seen, key)))
        .collect()
}

#[test]
fn every_shape_is_framed_for_what_it_is_however_it_is_cut() -> Result<()> {
    let mut wrong = Vec::new();
    for Shape { dialog, ledger: known } in shapes::all() {
        for longest in [SEGMENT, 1448, 100, 7, 2, 1] {
            if dialog.bytes() > 1_000_000 && longest < SEGMENT {
                continue;
            }
            let connection = frame(&dialog, longest)?;
            let differences = differences(&known, &ledger(&connection));
            wrong.extend(differences.into_iter().map(|line| format!("{longest}: {line}")));
            if connection.lost() > 0 {
                wrong.push(format!("{longest}: {:?}: lost", known.routes().keys().next()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn nothing_is_made_of_strangers_and_of_what_two_readers_would_read_differently() -> Result<()> {
    let mut before = Ledger::default();
    before.expect("GET", "/before", 200, 1, 0, 5);
    let known = strangers::strangers().into_iter().map(|(_, dialog)| (dialog, Ledger::default()));
    let known = known.chain(strangers::scans().into_iter().map(|dialog| (dialog, Ledger::default())));
    let known = known.chain(strangers::ambiguous().into_iter().map(|dialog| (dialog, before.clone())));
    let mut wrong = Vec::new();
    for (dialog, known) in known {
        for longest in [SEGMENT, 7, 1] {
            let differences = differences(&known, &ledger(&frame(&dialog, longest)?));
            let said = || {
                let says = |Act(_, deed): &Act| match deed {
                    Deed::Say(bytes) => String::from_utf8_lossy(bytes).chars().take(120).collect(),
                    _ => String::new(),
                };
                dialog.acts().iter().skip(2).map(says).collect::<String>()
            };
            wrong.extend(differences.into_iter().map(|line| format!("{longest}: {:?}\n  {line}", said())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Segments of `bytes` as a server behind a bad wire gets them: one in ten is overtaken by up to five others, and some
/// come twice.
fn disturbed(bytes: &[u8], longest: usize, random: &mut Rng) -> Vec<(usize, Vec<u8>)> {
    let mut segments: Vec<(usize, usize)> = Vec::new();
    let count = bytes.len().div_ceil(longest);
    for index in 0..count {
        let late = if random.u8(..) < 26 { random.usize(1..6) } else { 0 };
        segments.push((index + late, index));
        if random.u8(..) < 13 {
            segments.push((index + random.usize(1..20), index));
        }
    }
    // Stable: what is due at the same time comes in its order.
    segments.sort_by_key(|(due, index)| (*due, due - index));
    let segment = |index: usize| bytes.chunks(longest).nth(index).unwrap_or_default().to_vec();
    segments.into_iter().map(|(_, index)| (index * longest, segment(index))).collect()
}

#[test]
fn requests_whose_head_is_in_one_segment_are_framed_in_any_order_of_segments() -> Result<()> {
    const LONGEST: usize = 1448;
    for seed in 0..2000 {
        let mut random = Rng::with_seed(seed);
        let (connection, mut known) = (Connection::default(), Ledger::default());
        let (mut sent, mut answered, mut now_ns) = (0_u32, 0_u32, 1);
        for _ in 0..4 {
            let (body, answer) = (random.usize(..40_000), random.usize(..40_000));
            let head = format!("POST /reordered HTTP/1.1\r\nContent-Length: {body}\r\n\r\n");
            let request = [head.as_bytes(), &vec![b'G'; body]].concat();
            for (offset, segment) in disturbed(&request, LONGEST, &mut random) {
                now_ns += 1000;
                connection.segment(0, sent + u32::try_from(offset)?, &segment, now_ns);
            }
            sent += u32::try_from(request.len())?;
            let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{answer:x}\r\n");
            let end: &[u8] = if answer == 0 { b"\r\n" } else { b"\r\n0\r\n\r\n" };
            let response = [head.as_bytes(), &vec![b'H'; answer], end].concat();
            for (index, segment) in response.chunks(LONGEST).enumerate() {
                now_ns += 1000;
                // What a server sends is seen in order, and again where it was lost.
                for again in
                    [Some(index), random.bool().then_some(random.usize(..=index))].into_iter().flatten()
                {
                    let segment =
                        if again == index { segment } else { &response[again * LONGEST..][..LONGEST] };
                    connection.segment(1, answered + u32::try_from(again * LONGEST)?, segment, now_ns);
                }
            }
            answered += u32::try_from(response.len())?;
            known.expect("POST", "/reordered", 200, 1, body as u64, answer as u64);
        }
        let differences = differences(&known, &ledger(&connection));
        assert!(differences.is_empty() && connection.lost() == 0, "seed {seed}: {differences:?}");
    }
    Ok(())
}
