//! The conversations of `http_random`, given to the framer itself in any order of segments that TCP could give them: what
//! differs can be seen again from its number, also where segments are lost. Needs neither root nor kernel.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use fastrand::Rng;
use observer_ebpf::{
    host::{Connection, path},
    records::exchange::{Body, Exchange, METHODS, Outcome},
};
use tests::random::{
    conversation::Mix,
    flow::{CLOSED, End, Flow, Writes},
    kinds::Kinds,
    tally::{Cell, Counts, Tally},
};

/// Conversations of each kind alone, and as many of all kinds, each way to give them.
const CONVERSATIONS: u64 = 20;
/// Bytes of a segment of loopback, and of a wire.
const LONGEST: [usize; 2] = [65_483, 1448];

/// How segments come to the side that is observed.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Which side is observed: 0 the client, 1 the server. What it sends passes in order.
    observed: usize,
    /// Of 256 segments that come to it, so many are late, or were lost and come again.
    disturbed: u8,
}

/// A segment on its way to the observed side.
#[derive(Clone, Copy, Debug)]
struct Coming {
    due: u64,
    from: usize,
    to: usize,
}

/// One side of a conversation as it is played.
struct Party<'f> {
    flow: &'f Flow,
    writes: Writes,
    waits: usize,
    sent: usize,
    closed: bool,
}

impl<'f> Party<'f> {
    fn new(flow: &'f Flow, seed: u64) -> Self {
        Self { flow, writes: Writes::new(flow.cut, seed), waits: 0, sent: 0, closed: false }
    }

    /// The next bytes that may be sent when so many of the other side are there.
    fn next(&mut self, received: usize) -> Option<(usize, usize)> {
        let mut ready = self.flow.bytes.len();
        while let Some(wait) = self.flow.waits.get(self.waits) {
            if wait.received > received || (wait.at > self.sent && wait.pause > Duration::ZERO) {
                ready = wait.at;
                break;
            }
            self.waits += 1;
        }
        if ready <= self.sent {
            return None;
        }
        let from = self.sent;
        self.sent += self.writes.next(ready - from);
        Some((from, self.sent))
    }

    /// Whether it closes now.
    fn closes(&mut self, received: usize, other_closed: bool) -> bool {
        let closes = !self.closed
            && self.sent == self.flow.bytes.len()
            && match self.flow.end {
                End::Received(least) => received >= least,
                End::Other => other_closed,
            };
        self.closed |= closes;
        closes
    }
}

/// Plays a conversation to the framer.
fn frame(mix: Mix, number: u64, way: Way) -> Result<Connection> {
    let conversation = mix.conversation(number);
    let mut random = Rng::with_seed(mix.seed_of(number) ^ u64::from(way.disturbed));
    let connection = Connection::default();
    let longest = LONGEST[usize::from(way.disturbed > 0)];
    let mut parties = [Party::new(&conversation.client, 1), Party::new(&conversation.server, 2)];
    let (own, other) = (way.observed, 1 - way.observed);
    // Bytes of the other side that have come, without a hole, and those that came ahead of one.
    let (mut come, mut ahead) = (0, BTreeMap::new());
    let (mut coming, mut now, mut fin_came): (Vec<Coming>, u64, bool) = (Vec::new(), 1, false);
    loop {
        now += 1;
        let passed = if parties[own].closed { CLOSED } else { parties[own].sent };
        let mut acted = false;
        if let Some((from, to)) = parties[other].next(passed) {
            acted = true;
            for from in (from..to).step_by(longest) {
                let to = to.min(from + longest);
                let late = if random.u8(..) < way.disturbed { random.u64(1..30) } else { 0 };
                coming.push(Coming { due: now + late, from, to });
            }
        }
        coming.sort_by_key(|segment| segment.due);
        // All that is due comes, before or after what the observed side says.
        while let Some(Coming { due, from, to }) =
            coming.first().copied().filter(|segment| segment.due <= now || !acted)
        {
            coming.remove(0);
            acted = true;
            now = now.max(due);
            connection.segment(
                u32::try_from(other)?,
                u32::try_from(from)?,
                &parties[other].flow.bytes[from..to],
                now * 1_000_000,
            );
            ahead.insert(from, to);
            while let Some((from, to)) = ahead.pop_first() {
                if from > come {
                    ahead.insert(from, to);
                    break;
                }
                come = come.max(to);
            }
            if random.bool() {
                break;
            }
        }
        if let Some((from, to)) = parties[own].next(if fin_came { CLOSED } else { come }) {
            acted = true;
            for from in (from..to).step_by(longest) {
                let segment = &parties[own].flow.bytes[from..to.min(from + longest)];
                connection.segment(u32::try_from(own)?, u32::try_from(from)?, segment, now * 1_000_000);
            }
        }
        let all_came = come == parties[other].flow.bytes.len();
        let own_closed = parties[own].closed;
        parties[other].closes(parties[own].sent, own_closed);
        if parties[other].closed && all_came && !fin_came {
            (acted, fin_came) = (true, true);
            connection.fin(u32::try_from(other)?, now * 1_000_000);
        }
        if parties[own].closes(come, fin_came) {
            acted = true;
            connection.fin(u32::try_from(own)?, now * 1_000_000);
        }
        if !acted {
            break;
        }
    }
    ensure!(fin_came && parties[own].closed, "conversation {number} was not played to its end");
    // What has no end has it now.
    connection.closed(Outcome::Timeout, now * 1_000_000);
    Ok(connection)
}

/// The route of a path, as the agent's general rule has it.
fn route(path: &str, status: u16) -> String {
    if status == 404 {
        return "{unmatched}".to_owned();
    }
    let path = path.strip_prefix("http://chat.example").unwrap_or(path);
    let segment = |segment: &str| match segment.len() {
        36 => "{uuid}".to_owned(),
        1..6 if segment.bytes().all(|byte| byte.is_ascii_digit()) => "{number}".to_owned(),
        _ => segment.to_owned(),
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// What the agent makes of records.
fn tally(connection: &Connection) -> Tally {
    let mut tally = Tally::default();
    for (exchange, request) in connection.joined() {
        let (method, path) = match request {
            Some(request) => (request.method, path(&request.path, request.path_length)),
            None => (exchange.method, path(&exchange.path, exchange.path_length)),
        };
        enter(&mut tally, &exchange, METHODS[usize::from(method)], &path);
    }
    tally
}

fn enter(tally: &mut Tally, exchange: &Exchange, method: &str, path: &str) {
    let is = |body: Body| exchange.body == body as u8;
    let stream = [(Body::Sse, "sse"), (Body::Ndjson, "ndjson"), (Body::WebSocket, "websocket")];
    let stream = stream.into_iter().find(|(body, _)| is(*body)).map(|(_, name)| name.to_owned());
    let complete = exchange.outcome == Outcome::Completed as u8;
    let status = if complete { exchange.status } else { 0 };
    let cell = Cell { method: method.to_owned(), route: route(path, status), status, stream };
    let chunks = cell.stream.is_some() && !cell.route.contains("unframed");
    let counts = Counts {
        exchanges: 1,
        response_bytes: exchange.response_bytes,
        sent: if chunks { exchange.sent.into() } else { 0 },
        received: if is(Body::WebSocket) { exchange.received.into() } else { 0 },
        request_bytes: 0,
    };
    tally.enter(cell, counts);
}

/// What is to be framed of a conversation, as far as segments tell it.
fn known(mix: Mix, number: u64) -> Tally {
    let mut known = Tally::default();
    for (cell, counts) in mix.conversation(number).tally.cells() {
        let unframed = cell.route.contains("unframed");
        let sent = if unframed { 0 } else { counts.sent };
        known.enter(cell.clone(), Counts { request_bytes: 0, sent, ..*counts });
    }
    known
}

/// Plays conversations of these kinds every way; what differs, by the number of the conversation.
fn differences(kinds: Kinds, way: Way) -> Result<Vec<String>> {
    let mix = Mix::new(11, kinds);
    let mut wrong = Vec::new();
    for number in 0..CONVERSATIONS {
        let (known, connection) = (known(mix, number), frame(mix, number, way)?);
        let (seen, lost) = (tally(&connection), u64::from(connection.lost()));
        let conversation = mix.conversation(number);
        let cuts = [conversation.client.cut, conversation.server.cut];
        let mut differ = |what: String| {
            wrong.push(format!("{way:?}, conversation {number} of {kinds}, cut {cuts:?}: {what}"));
        };
        // Of a connection that was given up, nobody knows how many are missing.
        let unknown =
            connection.is_given_up() && way.disturbed > 0 && known.exchanges() > seen.exchanges() + lost;
        if (!unknown && known.exchanges() != seen.exchanges() + lost) || (way.disturbed == 0 && lost > 0) {
            differ(format!("{} asked, {} counted, {lost} lost", known.exchanges(), seen.exchanges()));
        }
        let of: BTreeMap<&Cell, &Counts> = known.cells().collect();
        for (cell, counts) in seen.cells() {
            let known = of.get(cell).copied().copied().unwrap_or_default();
            let above = counts.exchanges > known.exchanges || counts.response_bytes > known.response_bytes;
            if above || (lost == 0 && *counts != known) {
                differ(format!("{cell:?}: {known:?}, framed as {counts:?}"));
            }
        }
    }
    Ok(wrong)
}

/// Fails with the first differences of each kind alone.
fn play(disturbed: u8) -> Result<()> {
    const SHOWN: usize = 3;
    let mut wrong = Vec::new();
    let named = std::env::var("OBSERVER_RANDOM_KINDS").map_or(Ok(Kinds::all()), |kinds| kinds.parse())?;
    let each: Vec<Kinds> = named.each().map(|(_, kinds)| kinds).collect();
    for observed in [0, 1] {
        for kinds in each.iter().copied().chain([named]) {
            let differences = differences(kinds, Way { observed, disturbed })?;
            let more = differences.len().saturating_sub(SHOWN);
            wrong.extend(differences.into_iter().take(SHOWN));
            wrong.extend((more > 0).then(|| format!("  and {more} more of {kinds}")));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_conversation_in_order_is_framed_for_what_it_is() -> Result<()> {
    play(0)
}

#[test]
fn a_conversation_of_which_segments_are_late_is_framed_or_said_to_be_lost() -> Result<()> {
    play(5)
}
