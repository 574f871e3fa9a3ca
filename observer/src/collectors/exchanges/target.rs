//! What is counted of one target's exchanges, and where each belongs.

use std::sync::Arc;

use observer_ebpf::records::exchange::{Exchange, METHODS};

use super::{
    events::EventCounts,
    requests::Requests,
    settings::{Routers, StreamTimes},
    streams::{Live, Streams},
    table::{Routes, Row, Table},
    upstreams::Upstreams,
};
use crate::exchanges::{
    events::{End, Event},
    http::{self, is_preexisting, is_self_call},
    routes::Router,
    streams::{self, KINDS, Kind, Progress},
};

/// The counts of one target.
#[derive(Debug)]
pub(in crate::collectors) struct TargetCounts {
    router: Router,
    pub(in crate::collectors) routes: Routes,
    /// By [`METHODS`].
    pub(in crate::collectors) requests: Table<Requests, { METHODS.len() }>,
    /// By [`KINDS`].
    pub(in crate::collectors) streams: Table<Streams, { KINDS.len() }>,
    pub(in crate::collectors) self_calls: Table<u64, 1>,
    pub(in crate::collectors) events: EventCounts,
    pub(in crate::collectors) upstreams: Upstreams,
    /// Requests that are no streams and had no end at the last walk.
    pub(in crate::collectors) in_flight: u64,
}

/// Where an exchange belongs.
struct Place {
    row: Row,
    /// `None`: it is a request.
    stream: Option<Kind>,
    events: Arc<[Event]>,
}

impl TargetCounts {
    /// Counts by these routes.
    pub(super) fn new(routers: Routers) -> Self {
        Self {
            router: routers.served,
            routes: Routes::default(),
            requests: Table::default(),
            streams: Table::default(),
            self_calls: Table::default(),
            events: EventCounts::default(),
            upstreams: Upstreams::new(routers.asked),
            in_flight: 0,
        }
    }

    /// Counts an inbound exchange that has ended; `live` is the stream that it was while it was open.
    pub(super) fn ended(&mut self, exchange: &Exchange, live: Option<Live>, times: StreamTimes) {
        let Some(end) = http::end(exchange) else { return };
        let place = self.place(exchange, times, exchange.ended_ns);
        if is_self_call(exchange) {
            *self.self_calls.at(place.row, 0) += 1;
            return;
        }
        self.count_events(&place.events, exchange, end);
        let (row, stream, mut shown) = match live {
            // In the series that it was shown in while it was open.
            Some(live) => (live.row, Some(live.kind), live.shown),
            None => (place.row, place.stream, Progress::default()),
        };
        let Some(kind) = stream else {
            self.requests.at(row, http::method(exchange)).ended(exchange);
            return;
        };
        let added = Progress::of(exchange, times.stall, exchange.ended_ns).added(&mut shown);
        let streams = self.streams.at(row, kind as usize);
        streams.add(&added);
        streams.ended(exchange, end);
    }

    /// The stream that an exchange under way is at `now_ns`; `None` for a request, and for what has no answer yet.
    pub(super) fn opened(&mut self, exchange: &Exchange, times: StreamTimes, now_ns: u64) -> Option<Live> {
        // Without a status it may still become a 404, which is no route; the answer is not under way either.
        if exchange.status == 0 && !is_preexisting(exchange) {
            return None;
        }
        let Place { row, stream, .. } = self.place(exchange, times, now_ns);
        let (started_ns, shown) = (exchange.started_ns, Progress::default());
        let target = exchange.target;
        Some(Live { target, row, kind: stream?, started_ns, shown, seen: 0 })
    }

    /// Adds what an open stream has done since it was last looked at.
    pub(super) fn advance(&mut self, live: &mut Live, exchange: &Exchange, times: StreamTimes, now_ns: u64) {
        let added = Progress::of(exchange, times.stall, now_ns).added(&mut live.shown);
        self.streams.at(live.row, live.kind as usize).add(&added);
    }

    fn place(&mut self, exchange: &Exchange, times: StreamTimes, now_ns: u64) -> Place {
        if is_preexisting(exchange) {
            let stream = streams::kind(exchange, false, times.after, now_ns);
            return Place { row: Row::PREEXISTING, stream, events: Arc::new([]) };
        }
        let route = self.router.route(
            METHODS[http::method(exchange)].as_bytes(),
            http::path(exchange),
            exchange.status,
        );
        let stream = streams::kind(exchange, route.stream, times.after, now_ns);
        Place { row: self.routes.row(&route), stream, events: route.events }
    }

    fn count_events(&mut self, events: &[Event], exchange: &Exchange, end: End) {
        if events.is_empty() {
            return;
        }
        let status = (exchange.status != 0).then_some(exchange.status);
        let outcome = self.router.outcomes().outcome(status, end);
        for event in events {
            self.events.count(*event, outcome, exchange.ended_ns.saturating_sub(exchange.started_ns));
        }
    }
}
