//! All targets' exchanges: what records and walks mean to the counts.
//! Records of a target that the list of targets does not show yet wait for it; those of one that has gone are counted
//! and mean nothing.

use std::{collections::HashMap, mem, sync::Arc};

use observer_ebpf::{
    records::exchange::{AHEAD, Exchange, Outcome},
    records::peer::Direction,
};

use super::{settings::Settings, streams::Live, target::TargetCounts};
use crate::{
    exchanges::{
        ahead::Ahead,
        http::{self, has, is_self_call},
    },
    kernel::{Read, Record},
    targets::{TargetId, TargetList},
};

/// Exchanges that may wait for their target: attaching to many cgroups at once takes a moment.
const WAITING: usize = 4096;
/// Walks that an open stream may be missed by: one that ended just before the first is known by the second to have
/// ended, unless its record was lost.
const MISSED: u64 = 2;

/// The counts of all targets.
pub(super) struct State {
    settings: Settings,
    list: Arc<dyn TargetList>,
    targets: HashMap<TargetId, TargetCounts>,
    /// The highest number that the list has shown. Numbers ascend: one above it is of a target to come.
    highest: TargetId,
    ahead: Ahead,
    waiting: Vec<Exchange>,
    /// By connection and index.
    live: HashMap<(u64, u32), Live>,
    /// Number of the last walk.
    walk: u64,
}

/// Streams of a target that are open, of one route and kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::collectors) struct Open {
    /// How many.
    pub(in crate::collectors) count: u64,
    /// When the oldest began, in nanoseconds.
    pub(in crate::collectors) oldest_ns: u64,
}

impl State {
    pub(super) fn new(list: Arc<dyn TargetList>, settings: Settings) -> Self {
        Self {
            settings,
            list,
            targets: HashMap::new(),
            highest: 0,
            ahead: Ahead::default(),
            waiting: Vec::new(),
            live: HashMap::new(),
            walk: 0,
        }
    }

    /// The counts of a target; `None` where it has none yet.
    pub(super) fn target(&self, target: TargetId) -> Option<&TargetCounts> {
        self.targets.get(&target)
    }

    /// The target's streams that the last walk saw and that have not ended since.
    pub(super) fn open(&self, target: TargetId) -> HashMap<(super::Row, usize), Open> {
        let mut open: HashMap<_, Open> = HashMap::new();
        for live in self.live.values().filter(|live| live.target == target && live.seen == self.walk) {
            let entry = open.entry((live.row, live.kind as usize)).or_default();
            let oldest = if entry.count == 0 { live.started_ns } else { entry.oldest_ns };
            *entry = Open { count: entry.count + 1, oldest_ns: oldest.min(live.started_ns) };
        }
        open
    }

    /// How many open streams are remembered.
    #[cfg(test)]
    pub(super) fn live_streams(&self) -> usize {
        self.live.len()
    }

    /// Takes in a record of the ring.
    pub(super) fn record(&mut self, record: &Record) {
        match record {
            Record::Ahead(request) => self.ahead.put(request),
            Record::Exchange(exchange) => {
                exchange.and_unanswered().for_each(|exchange| self.ended(&exchange))
            }
        }
    }

    /// Looks again for the targets of records that wait.
    pub(super) fn retry(&mut self) {
        for exchange in mem::take(&mut self.waiting) {
            self.ended(&exchange);
        }
    }

    fn ended(&mut self, exchange: &Exchange) {
        if !self.knows(exchange.target) {
            let to_come = exchange.target > self.highest && self.waiting.len() < WAITING;
            if to_come {
                self.waiting.push(*exchange);
            } else {
                self.settings.records.add(Read::UnknownTarget, 1);
            }
            return;
        }
        let live = self.live.remove(&(exchange.id, exchange.index));
        let joined;
        let exchange = if has(exchange, AHEAD) {
            let Some(request) = self.ahead.take(exchange) else {
                self.settings.records.add(Read::Unjoined, 1);
                return;
            };
            joined = http::joined(exchange, &request);
            &joined
        } else {
            exchange
        };
        let Some(target) = self.targets.get_mut(&exchange.target) else { return };
        if exchange.direction == Direction::Inbound as u8 {
            target.ended(exchange, live, self.settings.times);
        } else if !is_self_call(exchange) {
            target.upstreams.ended(exchange);
        }
    }

    /// Begins a walk over the exchanges that are under way, with the records read until now taken in: forgets targets
    /// that have left, and streams whose end was lost.
    pub(super) fn begin_walk(&mut self) {
        let list = self.list.targets();
        self.highest = list.iter().map(|target| target.id).fold(self.highest, u32::max);
        self.targets.retain(|id, _| list.iter().any(|target| target.id == *id));
        self.targets.values_mut().for_each(|target| target.in_flight = 0);
        let (targets, walk) = (&self.targets, self.walk);
        self.live.retain(|_, live| targets.contains_key(&live.target) && live.seen + MISSED > walk);
        self.walk += 1;
    }

    /// Takes in an exchange of the walk that began at `now_ns`.
    pub(super) fn see(&mut self, exchange: &Exchange, now_ns: u64) {
        let counted = exchange.direction == Direction::Inbound as u8
            && exchange.outcome == Outcome::Open as u8
            && !is_self_call(exchange);
        if !counted || !self.knows(exchange.target) {
            return;
        }
        let Self { targets, live, ahead, settings: Settings { times, .. }, walk, .. } = self;
        let Some(target) = targets.get_mut(&exchange.target) else { return };
        let key = (exchange.id, exchange.index);
        let joined = match ahead.get(exchange) {
            Some(request) if has(exchange, AHEAD) => Some(http::joined(exchange, request)),
            _ => None,
        };
        // One whose request is not known cannot be placed.
        let placeable = joined.is_some() || !has(exchange, AHEAD);
        let exchange = joined.as_ref().unwrap_or(exchange);
        if placeable
            && !live.contains_key(&key)
            && let Some(found) = target.opened(exchange, *times, now_ns)
        {
            live.insert(key, found);
        }
        let others = match live.get_mut(&key) {
            Some(live) => {
                live.seen = *walk;
                target.advance(live, exchange, *times, now_ns);
                exchange.in_flight.saturating_sub(1)
            }
            None => exchange.in_flight.max(1),
        };
        target.in_flight += u64::from(others);
    }

    /// Whether there are counts of a target, which are made when the list of targets shows it.
    fn knows(&mut self, id: TargetId) -> bool {
        if self.targets.contains_key(&id) {
            return true;
        }
        let list = self.list.targets();
        self.highest = list.iter().map(|target| target.id).fold(self.highest, u32::max);
        let target = list.iter().find(|target| target.id == id);
        let Some(routers) = target.and_then(|target| self.settings.routers(&target.labels.app)) else {
            return false;
        };
        self.targets.insert(id, TargetCounts::new(routers));
        true
    }
}
