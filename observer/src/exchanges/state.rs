//! All targets' exchanges: what records and walks mean to the counts.
//! Records of a target that the list of targets does not show yet wait for it; those of one that has gone are counted
//! and mean nothing.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
};

use observer_ebpf::{
    records::exchange::{AHEAD, Exchange, Outcome},
    records::peer::Direction,
};

use super::{
    ahead::Ahead,
    record::{self, has, is_self_call},
    settings::Settings,
    streams::Live,
    target::TargetCounts,
};
use crate::{
    kernel::{Read, Record},
    targets::{Target, TargetId, TargetList},
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
    /// The list as it was last looked at.
    known: Arc<[Target]>,
    /// The highest number that the list has shown. Numbers ascend: one above it is of a target to come.
    highest: TargetId,
    ahead: Ahead,
    waiting: Vec<Exchange>,
    /// By connection and index.
    live: HashMap<(u64, u32), Live>,
    /// Streamed answers to what targets asked of others, whose first event has been counted; with their target and the
    /// walk that saw each last.
    asked: HashMap<(u64, u32), (TargetId, u64)>,
    /// Number of the last walk.
    walk: u64,
}

/// Streams of a target that are open, of one route and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exchanges) struct Open {
    /// How many.
    pub(in crate::exchanges) count: u64,
    /// When the oldest began, in nanoseconds.
    pub(in crate::exchanges) oldest_ns: u64,
    /// How many of them have had no event yet.
    pub(in crate::exchanges) waiting: u64,
    /// When the one began that has waited longest, in nanoseconds; later than anything where none waits.
    pub(in crate::exchanges) waiting_since_ns: u64,
}

impl Default for Open {
    fn default() -> Self {
        Self { count: 0, oldest_ns: u64::MAX, waiting: 0, waiting_since_ns: u64::MAX }
    }
}

impl State {
    pub(super) fn new(list: Arc<dyn TargetList>, settings: Settings) -> Self {
        Self {
            settings,
            list,
            targets: HashMap::new(),
            known: Arc::default(),
            highest: 0,
            ahead: Ahead::default(),
            waiting: Vec::new(),
            live: HashMap::new(),
            asked: HashMap::new(),
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
            entry.count += 1;
            entry.oldest_ns = entry.oldest_ns.min(live.started_ns);
            if live.waits {
                entry.waiting += 1;
                entry.waiting_since_ns = entry.waiting_since_ns.min(live.started_ns);
            }
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
                exchange.and_unanswered().for_each(|exchange| self.ended(&exchange));
            }
        }
    }

    /// Looks at the list of targets again: at what they are called, and for those of records that wait.
    pub(super) fn retry(&mut self) {
        self.follow_list();
        for exchange in mem::take(&mut self.waiting) {
            self.ended(&exchange);
        }
    }

    /// Gives targets that are another app than before the routes of that; what was counted stays.
    fn follow_list(&mut self) {
        let list = self.list.targets();
        if Arc::ptr_eq(&list, &self.known) {
            return;
        }
        self.highest = list.iter().map(|target| target.id).fold(self.highest, u32::max);
        for target in list.iter() {
            if let Some(counts) = self.targets.get_mut(&target.id)
                && counts.app != target.labels.app
                && let Some(profile) = self.settings.profiles.for_app(&target.labels.app)
            {
                counts.turn_to(&target.labels.app, profile);
            }
        }
        self.known = list;
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
        let key = (exchange.id, exchange.index);
        let live = self.live.remove(&key);
        let asked = self.asked.remove(&key).is_some();
        let joined;
        let exchange = if has(exchange, AHEAD) {
            let Some(request) = self.ahead.take(exchange) else {
                self.settings.records.add(Read::Unjoined, 1);
                return;
            };
            joined = record::joined(exchange, &request);
            &joined
        } else {
            exchange
        };
        let Some(target) = self.targets.get_mut(&exchange.target) else { return };
        if exchange.direction == Direction::Inbound as u8 {
            target.ended(exchange, live, self.settings.times);
        } else if !is_self_call(exchange) {
            target.upstreams.ended(exchange, self.settings.times, asked);
        }
    }

    /// Begins a walk over the exchanges that are under way, with the records read until now taken in: forgets targets
    /// that have left, and streams whose end was lost.
    pub(super) fn begin_walk(&mut self) {
        self.follow_list();
        let shown: HashSet<TargetId> = self.known.iter().map(|target| target.id).collect();
        self.targets.retain(|id, _| shown.contains(id));
        self.targets.values_mut().for_each(|target| target.in_flight = 0);
        let walk = self.walk;
        self.live.retain(|_, live| shown.contains(&live.target) && live.seen + MISSED > walk);
        self.asked.retain(|_, (target, seen)| shown.contains(target) && *seen + MISSED > walk);
        self.walk += 1;
    }

    /// Takes in an exchange of the walk that began at `now_ns`.
    pub(super) fn see(&mut self, exchange: &Exchange, now_ns: u64) {
        if exchange.outcome != Outcome::Open as u8 || !self.knows(exchange.target) {
            return;
        }
        if exchange.direction != Direction::Inbound as u8 {
            return self.see_asked(exchange, now_ns);
        }
        let Self { targets, live, ahead, settings: Settings { times, .. }, walk, .. } = self;
        let Some(target) = targets.get_mut(&exchange.target) else { return };
        let key = (exchange.id, exchange.index);
        let joined = match ahead.get(exchange) {
            Some(request) if has(exchange, AHEAD) => Some(record::joined(exchange, request)),
            _ => None,
        };
        // One whose request is not known cannot be placed.
        let placeable = joined.is_some() || !has(exchange, AHEAD);
        let exchange = joined.as_ref().unwrap_or(exchange);
        if is_self_call(exchange) && !(placeable && target.counts_self_call(exchange)) {
            return;
        }
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

    /// Counts the first event of a streamed answer when it has come.
    fn see_asked(&mut self, exchange: &Exchange, now_ns: u64) {
        let key = (exchange.id, exchange.index);
        if let Some((_, seen)) = self.asked.get_mut(&key) {
            *seen = self.walk;
            return;
        }
        let joined = match self.ahead.get(exchange) {
            Some(request) if has(exchange, AHEAD) => Some(record::joined(exchange, request)),
            _ => None,
        };
        if is_self_call(exchange) || (joined.is_none() && has(exchange, AHEAD)) {
            return;
        }
        let exchange = joined.as_ref().unwrap_or(exchange);
        if let Some(target) = self.targets.get_mut(&exchange.target)
            && target.upstreams.first_event(exchange, self.settings.times, now_ns)
        {
            self.asked.insert(key, (exchange.target, self.walk));
        }
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
        let app = target.map(|target| target.labels.app.as_str()).unwrap_or_default();
        self.targets.insert(id, TargetCounts::new(app, routers));
        true
    }
}
