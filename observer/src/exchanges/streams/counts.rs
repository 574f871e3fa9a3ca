//! What is counted of the streams of one route and kind, and which streams are open.
//! What an open stream has done is in its route's counts already; its end adds the rest.

use observer_ebpf::records::{exchange::Exchange, histogram::LONG_NS};

use super::{Kind, Progress};
use crate::{
    exchanges::{
        histogram::{Gaps, LongTimes, REQUEST_NS, RequestTimes},
        record::{elapsed, is_preexisting, status_code},
        requests::count_of,
        table::Row,
    },
    profiles::events::End,
    targets::TargetId,
};

/// Streams of one route and kind.
#[derive(Debug, Default)]
pub(in crate::exchanges) struct Streams {
    /// How many have begun.
    pub(in crate::exchanges) started: u64,
    /// How many have ended, by status code and how.
    pub(in crate::exchanges) ended: Vec<((u16, End), u64)>,
    /// From the first byte of the request to the end.
    pub(in crate::exchanges) duration: LongTimes,
    /// From the first byte of the request to the head of the response.
    pub(in crate::exchanges) headers: RequestTimes,
    /// From the first byte of the request to the first event.
    pub(in crate::exchanges) first_event: RequestTimes,
    /// Times between two events.
    pub(in crate::exchanges) gaps: Gaps,
    /// Gaps that were stalls.
    pub(in crate::exchanges) stalls: u64,
    /// Chunks or messages, sent and received.
    pub(in crate::exchanges) chunks: [u64; 2],
    /// Bytes, sent and received.
    pub(in crate::exchanges) bytes: [u64; 2],
}

/// An open stream.
#[derive(Debug)]
pub(in crate::exchanges) struct Live {
    pub(in crate::exchanges) target: TargetId,
    pub(in crate::exchanges) row: Row,
    pub(in crate::exchanges) kind: Kind,
    pub(in crate::exchanges) started_ns: u64,
    /// Whether it has had no event yet.
    pub(in crate::exchanges) waits: bool,
    /// What its route's counts hold of it.
    pub(in crate::exchanges) shown: Progress,
    /// The walk that saw it last.
    pub(in crate::exchanges) seen: u64,
}

impl Streams {
    /// Counts what a stream has done since it was last looked at.
    pub(in crate::exchanges) fn add(&mut self, added: &Progress) {
        self.bytes.iter_mut().zip(added.bytes).for_each(|(to, more)| *to += more);
        self.chunks.iter_mut().zip(added.chunks).for_each(|(to, more)| *to += more);
        self.gaps.add(&added.gaps, added.gap_sum_ns);
        self.stalls += added.stalls;
        if added.first_event_ns != 0 {
            self.first_event.observe(&REQUEST_NS, added.first_event_ns);
        }
    }

    /// Counts the end of a stream. Of one that was under way when the agent attached the request is not known, so it
    /// has only the time since then.
    pub(in crate::exchanges) fn ended(&mut self, exchange: &Exchange, end: End) {
        *count_of(&mut self.ended, (status_code(exchange), end)) += 1;
        self.duration.observe(&LONG_NS, exchange.ended_ns.saturating_sub(exchange.started_ns));
        if is_preexisting(exchange) {
            return;
        }
        if let Some(time) = elapsed(exchange.started_ns, exchange.response_ns) {
            self.headers.observe(&REQUEST_NS, time);
        }
    }
}
