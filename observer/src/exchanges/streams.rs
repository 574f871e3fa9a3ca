//! Which exchanges are streams, of what kind, and how far each has come.
//! What an open stream has done is counted while it lasts: by what was added since it was last looked at.

use std::time::Duration;

use observer_ebpf::records::{
    exchange::{Body, Exchange},
    histogram::GAP_BUCKETS,
};

use super::http::{elapsed, end, is_preexisting};

/// Value of the label `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Server-sent events.
    Sse,
    /// A line of JSON per event.
    Ndjson,
    /// Any other answer.
    Chunked,
    /// A WebSocket.
    WebSocket,
}

/// Label values by [`Kind`].
pub const KINDS: [&str; 4] = ["sse", "ndjson", "chunked", "websocket"];

/// The kind of stream that an exchange is at `now_ns`, while it is open, or was; `None` for a request.
///
/// `route_streams`: its profile says that this answer is a stream. `after`: how long the body of an answer of
/// unknown length may take before it is one.
pub fn kind(exchange: &Exchange, route_streams: bool, after: Duration, now_ns: u64) -> Option<Kind> {
    let is = |body: Body| exchange.body == body as u8;
    if is(Body::Sse) {
        return Some(Kind::Sse);
    } else if is(Body::Ndjson) {
        return Some(Kind::Ndjson);
    } else if is(Body::WebSocket) {
        return Some(Kind::WebSocket);
    }
    let until = until(exchange, now_ns);
    let lasts = || {
        let answer = (exchange.response_ns != 0).then(|| until.saturating_sub(exchange.response_ns));
        is(Body::Unknown) && answer.is_some_and(|answer| u128::from(answer) > after.as_nanos())
    };
    (is_preexisting(exchange) || route_streams || lasts()).then_some(Kind::Chunked)
}

/// The end of an exchange, or now while it is open.
fn until(exchange: &Exchange, now_ns: u64) -> u64 {
    if end(exchange).is_some() { exchange.ended_ns } else { now_ns }
}

/// What a stream has done so far, or since it was last looked at. First what was sent, then what was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of bodies or messages.
    pub bytes: [u64; 2],
    /// Chunks that hold an event, or messages.
    pub chunks: [u64; 2],
    /// Times between two events, by bucket.
    pub gaps: [u32; GAP_BUCKETS],
    /// Their sum in nanoseconds.
    pub gap_sum_ns: u64,
    /// Gaps that were stalls.
    pub stalls: u64,
}

impl Progress {
    /// All that an exchange has done until its end, or until `now_ns` while it is open. A silence that is longer than
    /// `stall` is a stall while it lasts already, and also where the end ends it. The kernel half counts it when
    /// it is over: then it lasts no more.
    pub fn of(exchange: &Exchange, stall: Duration, now_ns: u64) -> Self {
        let until = until(exchange, now_ns);
        let silence = if exchange.last_event_ns == 0 { None } else { elapsed(exchange.last_event_ns, until) };
        let stalled = silence.is_some_and(|silence| u128::from(silence) > stall.as_nanos());
        Self {
            bytes: [exchange.response_bytes, exchange.request_bytes],
            chunks: [exchange.sent.into(), exchange.received.into()],
            gaps: exchange.gaps,
            gap_sum_ns: exchange.gap_sum_ns,
            stalls: u64::from(exchange.stalls) + u64::from(stalled),
        }
    }

    /// What was added since `shown`, which then includes it. Nothing is taken back: the record of a stream that the
    /// kernel half took for a request holds no gaps.
    #[must_use]
    pub fn added(&self, shown: &mut Self) -> Self {
        let mut added = Self::default();
        let pairs = |added: &mut [u64], now: &[u64], shown: &mut [u64]| {
            for ((added, now), shown) in added.iter_mut().zip(now).zip(shown) {
                *added = now.saturating_sub(*shown);
                *shown = (*shown).max(*now);
            }
        };
        pairs(&mut added.bytes, &self.bytes, &mut shown.bytes);
        pairs(&mut added.chunks, &self.chunks, &mut shown.chunks);
        for ((added, now), shown) in added.gaps.iter_mut().zip(self.gaps).zip(&mut shown.gaps) {
            *added = now.saturating_sub(*shown);
            *shown = (*shown).max(now);
        }
        added.gap_sum_ns = self.gap_sum_ns.saturating_sub(shown.gap_sum_ns);
        shown.gap_sum_ns = shown.gap_sum_ns.max(self.gap_sum_ns);
        added.stalls = self.stalls.saturating_sub(shown.stalls);
        shown.stalls = shown.stalls.max(self.stalls);
        added
    }
}

#[cfg(test)]
mod tests {
    use observer_ebpf::records::exchange::{Outcome, PREEXISTING};

    use super::*;
    use crate::exchanges::fixture::{at, exchange};

    const AFTER: Duration = Duration::from_secs(2);
    const STALL: Duration = Duration::from_secs(10);

    fn of(body: Body, ended_ms: Option<u64>) -> Exchange {
        let outcome = if ended_ms.is_some() { Outcome::Completed } else { Outcome::Open };
        Exchange { body: body as u8, outcome: outcome as u8, ended_ns: ended_ms.map_or(0, at), ..exchange() }
    }

    #[test]
    fn sse_ndjson_and_websockets_are_streams_from_the_start() {
        for (body, expected) in
            [(Body::Sse, Kind::Sse), (Body::Ndjson, Kind::Ndjson), (Body::WebSocket, Kind::WebSocket)]
        {
            assert_eq!(kind(&of(body, Some(30)), false, AFTER, at(30)), Some(expected));
            assert_eq!(kind(&of(body, None), false, AFTER, at(30)), Some(expected));
        }
    }

    #[test]
    fn an_answer_of_unknown_length_becomes_one_once_its_body_takes_longer() {
        // The head came at 20 ms.
        assert_eq!(kind(&of(Body::Unknown, Some(2020)), false, AFTER, 0), None);
        assert_eq!(kind(&of(Body::Unknown, Some(2021)), false, AFTER, 0), Some(Kind::Chunked));
        assert_eq!(kind(&of(Body::Unknown, None), false, AFTER, at(2020)), None);
        assert_eq!(kind(&of(Body::Unknown, None), false, AFTER, at(2021)), Some(Kind::Chunked));
        let unanswered = Exchange { response_ns: 0, ..of(Body::Unknown, None) };
        assert_eq!(kind(&unanswered, false, AFTER, at(60_000)), None);
    }

    #[test]
    fn a_download_of_known_length_is_a_request_however_long_it_takes() {
        assert_eq!(kind(&of(Body::Known, Some(600_000)), false, AFTER, 0), None);
        assert_eq!(kind(&of(Body::Known, Some(30)), true, AFTER, 0), Some(Kind::Chunked));
        let adopted = Exchange { flags: PREEXISTING, ..of(Body::Unknown, Some(30)) };
        assert_eq!(kind(&adopted, false, AFTER, 0), Some(Kind::Chunked));
    }

    #[test]
    fn only_what_was_added_is_added_and_nothing_is_taken_back() {
        let mut shown = Progress::default();
        let mut open = Exchange { gap_sum_ns: 5, ..of(Body::Sse, None) };
        open.gaps[3] = 2;
        let first = Progress::of(&open, STALL, at(41)).added(&mut shown);
        assert_eq!((first.bytes, first.chunks, first.gaps[3], first.gap_sum_ns), ([2000, 100], [1, 0], 2, 5));
        assert_eq!(Progress::of(&open, STALL, at(42)).added(&mut shown), Progress::default());
        let outcome = Outcome::Completed as u8;
        let ended = Exchange {
            response_bytes: 2500,
            sent: 3,
            gaps: [0; GAP_BUCKETS],
            gap_sum_ns: 0,
            outcome,
            ended_ns: at(43),
            ..open
        };
        let rest = Progress::of(&ended, STALL, at(43)).added(&mut shown);
        assert_eq!(
            (rest.bytes, rest.chunks, rest.gaps, rest.gap_sum_ns),
            ([500, 0], [2, 0], [0; GAP_BUCKETS], 0)
        );
    }

    #[test]
    fn a_stall_counts_once_while_it_lasts_and_when_it_is_over() {
        let mut shown = Progress::default();
        let open = of(Body::Sse, None);
        let stalls = |exchange: &Exchange, shown: &mut Progress, now| {
            Progress::of(exchange, STALL, at(now)).added(shown).stalls
        };
        // The last event was at 40 ms.
        assert_eq!(stalls(&open, &mut shown, 10_040), 0);
        assert_eq!(stalls(&open, &mut shown, 10_041), 1);
        assert_eq!(stalls(&open, &mut shown, 20_000), 0);
        let goes_on = Exchange { stalls: 1, last_event_ns: at(21_000), ..open };
        assert_eq!(stalls(&goes_on, &mut shown, 21_001), 0);
        assert_eq!(stalls(&goes_on, &mut shown, 40_000), 1);
        let ended = Exchange { ended_ns: at(41_000), outcome: Outcome::Completed as u8, ..goes_on };
        assert_eq!(stalls(&ended, &mut shown, 50_000), 0);
        assert_eq!(stalls(&ended, &mut Progress::default(), 0), 2);
    }

    #[test]
    fn before_the_first_event_there_is_no_stall() {
        let silent = Exchange { event_ns: 0, last_event_ns: 0, ..of(Body::Sse, None) };
        assert_eq!(Progress::of(&silent, STALL, at(60_000)).stalls, 0);
    }
}
