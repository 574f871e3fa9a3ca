//! What is counted of the streams of one route and kind, and which streams are open.
//! What an open stream has done is in its route's counts already; its end adds the rest.

use observer_ebpf::records::{exchange::Exchange, histogram::LONG_NS};

use super::{
    histogram::{Gaps, LongTimes, REQUEST_NS, RequestTimes},
    requests::count_of,
    table::Row,
};
use crate::{
    exchanges::{
        events::End,
        http::{elapsed, is_preexisting, status_code},
        streams::{Kind, Progress},
    },
    targets::TargetId,
};

/// Streams of one route and kind.
#[derive(Debug, Default)]
pub(in crate::collectors) struct Streams {
    /// How many have ended, by status code and how.
    pub(in crate::collectors) ended: Vec<((u16, End), u64)>,
    /// From the first byte of the request to the end.
    pub(in crate::collectors) duration: LongTimes,
    /// From the first byte of the request to the head of the response.
    pub(in crate::collectors) headers: RequestTimes,
    /// From the first byte of the request to the first event.
    pub(in crate::collectors) first_event: RequestTimes,
    /// Times between two events.
    pub(in crate::collectors) gaps: Gaps,
    /// Gaps that were stalls.
    pub(in crate::collectors) stalls: u64,
    /// Chunks or messages, sent and received.
    pub(in crate::collectors) chunks: [u64; 2],
    /// Bytes, sent and received.
    pub(in crate::collectors) bytes: [u64; 2],
}

/// An open stream.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) target: TargetId,
    pub(super) row: Row,
    pub(super) kind: Kind,
    pub(super) started_ns: u64,
    /// What its route's counts hold of it.
    pub(super) shown: Progress,
    /// The walk that saw it last.
    pub(super) seen: u64,
}

impl Streams {
    /// Counts what a stream has done since it was last looked at.
    pub(super) fn add(&mut self, added: &Progress) {
        self.bytes.iter_mut().zip(added.bytes).for_each(|(to, more)| *to += more);
        self.chunks.iter_mut().zip(added.chunks).for_each(|(to, more)| *to += more);
        self.gaps.add(&added.gaps, added.gap_sum_ns);
        self.stalls += added.stalls;
    }

    /// Counts the end of a stream. Of one that was under way when the agent attached the request is not known, so it
    /// has only the time since then.
    pub(super) fn ended(&mut self, exchange: &Exchange, end: End) {
        *count_of(&mut self.ended, (status_code(exchange), end)) += 1;
        self.duration.observe(&LONG_NS, exchange.ended_ns.saturating_sub(exchange.started_ns));
        if is_preexisting(exchange) {
            return;
        }
        for (times, reached_ns) in
            [(&mut self.headers, exchange.response_ns), (&mut self.first_event, exchange.event_ns)]
        {
            if let Some(time) = elapsed(exchange.started_ns, reached_ns) {
                times.observe(&REQUEST_NS, time);
            }
        }
    }
}
