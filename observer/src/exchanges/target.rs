//! What is counted of one target's exchanges, and where each belongs.

use std::sync::Arc;

use observer_ebpf::records::exchange::{Exchange, METHODS};

use super::{
    app_events::EventCounts,
    record::{self, is_preexisting, is_self_call},
    requests::Requests,
    routes::{Route, Router},
    settings::{Routers, StreamTimes},
    streams::{self, KINDS, Kind, Live, Progress, Streams},
    table::{Routes, Row, Table},
    upstream::Upstreams,
};
use crate::profiles::{
    Profile,
    events::{End, Event},
};

/// The counts of one target.
#[derive(Debug)]
pub(in crate::exchanges) struct TargetCounts {
    /// The app whose routes hold.
    pub(super) app: String,
    router: Router,
    pub(in crate::exchanges) routes: Routes,
    /// By [`METHODS`].
    pub(in crate::exchanges) requests: Table<Requests, { METHODS.len() }>,
    /// By [`KINDS`].
    pub(in crate::exchanges) streams: Table<Streams, { KINDS.len() }>,
    pub(in crate::exchanges) self_calls: Table<u64, 1>,
    pub(in crate::exchanges) events: EventCounts,
    pub(in crate::exchanges) upstreams: Upstreams,
    /// Requests that are no streams and had no end at the last walk.
    pub(in crate::exchanges) in_flight: u64,
}

/// Where an exchange belongs.
struct Place {
    row: Row,
    /// `None`: it is a request.
    stream: Option<Kind>,
    events: Arc<[Event]>,
    /// Whether it counts also where the target called itself.
    self_calls: bool,
}

impl TargetCounts {
    /// Counts by these routes.
    pub(super) fn new(app: &str, routers: Routers) -> Self {
        Self {
            app: app.to_owned(),
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

    /// From now on, what the target serves has the routes of another app.
    pub(super) fn turn_to(&mut self, app: &str, profile: &Profile) {
        app.clone_into(&mut self.app);
        self.router.turn_to(profile);
    }

    /// Whether the profile says that this call of the target to itself is one of its requests.
    pub(super) fn counts_self_call(&mut self, exchange: &Exchange) -> bool {
        !is_preexisting(exchange) && self.route(exchange).self_calls
    }

    /// Counts an inbound exchange that has ended; `live` is the stream that it was while it was open.
    pub(super) fn ended(&mut self, exchange: &Exchange, live: Option<Live>, times: StreamTimes) {
        let Some(end) = record::end(exchange) else { return };
        let place = self.place(exchange, times, exchange.ended_ns);
        if is_self_call(exchange) && !place.self_calls {
            *self.self_calls.at(place.row, 0) += 1;
            return;
        }
        self.count_events(&place.events, exchange, end);
        let begun = live.is_some();
        let (row, stream, mut shown) = match live {
            // In the series that it was shown in while it was open.
            Some(live) => (live.row, Some(live.kind), live.shown),
            None => (place.row, place.stream, Progress::default()),
        };
        let Some(kind) = stream else {
            self.requests.at(row, record::method(exchange)).ended(exchange);
            return;
        };
        let added = Progress::of(exchange, times.stall, exchange.ended_ns).added(&mut shown);
        let streams = self.streams.at(row, kind as usize);
        streams.started += u64::from(!begun);
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
        let (target, kind) = (exchange.target, stream?);
        self.streams.at(row, kind as usize).started += 1;
        Some(Live { target, row, kind, started_ns, waits: false, shown, seen: 0 })
    }

    /// Adds what an open stream has done since it was last looked at.
    pub(super) fn advance(&mut self, live: &mut Live, exchange: &Exchange, times: StreamTimes, now_ns: u64) {
        let added = Progress::of(exchange, times.stall, now_ns).added(&mut live.shown);
        live.waits = streams::waits(exchange);
        self.streams.at(live.row, live.kind as usize).add(&added);
    }

    fn place(&mut self, exchange: &Exchange, times: StreamTimes, now_ns: u64) -> Place {
        if is_preexisting(exchange) {
            let stream = streams::kind(exchange, false, times.after, now_ns);
            return Place { row: Row::PREEXISTING, stream, events: Arc::new([]), self_calls: false };
        }
        let route = self.route(exchange);
        let stream = streams::kind(exchange, route.stream, times.after, now_ns);
        let row = self.routes.row(&route);
        Place { row, stream, events: route.events, self_calls: route.self_calls }
    }

    fn route(&mut self, exchange: &Exchange) -> Route {
        let method = METHODS[record::method(exchange)].as_bytes();
        self.router.route(method, record::path(exchange), exchange.status)
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
