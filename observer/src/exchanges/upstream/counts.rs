//! What is counted of the requests that one target makes, by whom it asks.

use observer_ebpf::{
    records::exchange::{Exchange, METHODS},
    records::peer::{Direction, PeerKey},
};

use crate::{
    collectors::peer_names::peer_name,
    exchanges::{
        histogram::{LLM_NS, LlmTimes, REQUEST_NS, RequestTimes},
        record::{self, elapsed, is_preexisting, status_code},
        requests::count_of,
        routes::Router,
        settings::StreamTimes,
        streams,
        table::{Routes, Row, Table},
    },
};

/// Requests of one route and method.
#[derive(Debug, Default)]
pub(in crate::exchanges) struct Calls {
    /// How many, by status code; few enough to be searched one by one.
    pub(in crate::exchanges) statuses: Vec<(u16, u64)>,
    /// From the first byte of the request to the last of the response.
    pub(in crate::exchanges) duration: LlmTimes,
    /// From the first byte of the request to the first of the response.
    pub(in crate::exchanges) first_byte: RequestTimes,
    /// From the first byte of the request to the first event of a streamed answer.
    pub(in crate::exchanges) first_event: LlmTimes,
}

/// Requests by method and route.
pub(in crate::exchanges) type Asked = Table<Calls, { METHODS.len() }>;

impl Calls {
    /// Counts a request that has ended. One that was not answered has no times.
    fn ended(&mut self, exchange: &Exchange) {
        *count_of(&mut self.statuses, status_code(exchange)) += 1;
        if exchange.status == 0 {
            return;
        }
        self.duration.observe(&LLM_NS, exchange.ended_ns.saturating_sub(exchange.started_ns));
        if let Some(first_byte) = elapsed(exchange.started_ns, exchange.response_ns) {
            self.first_byte.observe(&REQUEST_NS, first_byte);
        }
    }
}

/// What a target asked of others.
#[derive(Debug)]
pub(in crate::exchanges) struct Upstreams {
    router: Router,
    pub(in crate::exchanges) routes: Routes,
    /// By the name of the peer; a closed list, which is short.
    pub(in crate::exchanges) peers: Vec<(&'static str, Asked)>,
}

impl Upstreams {
    /// Counts by the routes of `router`.
    pub(in crate::exchanges) fn new(router: Router) -> Self {
        Self { router, routes: Routes::default(), peers: Vec::new() }
    }

    /// Counts an outbound exchange that has ended, a stream like a request. `seen`: its first event is counted already.
    pub(in crate::exchanges) fn ended(&mut self, exchange: &Exchange, times: StreamTimes, seen: bool) {
        if record::end(exchange).is_none() {
            return;
        }
        if !seen {
            self.first_event(exchange, times, exchange.ended_ns);
        }
        self.calls(exchange).ended(exchange);
    }

    /// Counts the first event of a streamed answer, where it has come until `now_ns`.
    pub(in crate::exchanges) fn first_event(
        &mut self,
        exchange: &Exchange,
        times: StreamTimes,
        now_ns: u64,
    ) -> bool {
        let streamed = streams::kind(exchange, false, times.after, now_ns).is_some();
        let time = elapsed(exchange.started_ns, exchange.event_ns);
        let Some(time) = time.filter(|_| streamed && !is_preexisting(exchange)) else { return false };
        self.calls(exchange).first_event.observe(&LLM_NS, time);
        true
    }

    fn calls(&mut self, exchange: &Exchange) -> &mut Calls {
        let method = record::method(exchange);
        let row = if is_preexisting(exchange) {
            Row::PREEXISTING
        } else {
            let path = record::path(exchange);
            self.routes.row(&self.router.route(METHODS[method].as_bytes(), path, exchange.status))
        };
        let key = PeerKey { port: exchange.port, ..PeerKey::shared(exchange.target, Direction::Outbound) };
        let name = peer_name(&key);
        let index = self.peers.iter().position(|(other, _)| *other == name).unwrap_or_else(|| {
            self.peers.push((name, Asked::default()));
            self.peers.len() - 1
        });
        self.peers[index].1.at(row, method)
    }
}
