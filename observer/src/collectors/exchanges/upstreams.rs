//! What is counted of the requests that one target makes, by whom it asks.

use observer_ebpf::{
    records::exchange::{Exchange, METHODS},
    records::peer::{Direction, PeerKey},
};

use super::{
    requests::Requests,
    table::{Routes, Row, Table},
};
use crate::{
    collectors::peer_names::peer_name,
    exchanges::{
        http::{self, is_preexisting},
        routes::Router,
    },
};

/// Requests by method and route.
pub(in crate::collectors) type Asked = Table<Requests, { METHODS.len() }>;

/// What a target asked of others.
#[derive(Debug)]
pub(in crate::collectors) struct Upstreams {
    router: Router,
    pub(in crate::collectors) routes: Routes,
    /// By the name of the peer; a closed list, which is short.
    pub(in crate::collectors) peers: Vec<(&'static str, Asked)>,
}

impl Upstreams {
    /// Counts by the routes of `router`.
    pub(super) fn new(router: Router) -> Self {
        Self { router, routes: Routes::default(), peers: Vec::new() }
    }

    /// Counts an outbound exchange that has ended, a stream like a request.
    pub(super) fn ended(&mut self, exchange: &Exchange) {
        if http::end(exchange).is_none() {
            return;
        }
        let method = http::method(exchange);
        let row = if is_preexisting(exchange) {
            Row::PREEXISTING
        } else {
            let path = http::path(exchange);
            self.routes.row(&self.router.route(METHODS[method].as_bytes(), path, exchange.status))
        };
        let key = PeerKey { port: exchange.port, ..PeerKey::shared(exchange.target, Direction::Outbound) };
        let name = peer_name(&key);
        let index = self.peers.iter().position(|(other, _)| *other == name).unwrap_or_else(|| {
            self.peers.push((name, Asked::default()));
            self.peers.len() - 1
        });
        self.peers[index].1.at(row, method).ended(exchange);
    }
}
