//! HTTP exchanges of all targets, counted as their records come; several collectors show the counts.
//! A reader of the ring and each scrape take records in, under one lock.

mod events;
mod histogram;
mod requests;
mod settings;
mod state;
mod streams;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod upstreams;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use observer_ebpf::records::exchange::Exchange;

pub use self::settings::{Settings, StreamTimes};
use self::state::State;
pub(super) use self::{
    requests::Requests, state::Open, streams::Streams, table::Row, target::TargetCounts, upstreams::Upstreams,
};
use crate::{
    kernel::{self, ExchangeRing, Kernel, Record},
    targets::{TargetId, TargetList},
};

/// Where exchanges come from: the kernel half, and in tests a script.
pub trait ExchangeSource: Send + Sync {
    /// Calls `visit` with every record that waits, in the order in which they were sent.
    fn drain(&self, visit: &mut dyn FnMut(&Record));
    /// Calls `visit` with every exchange that is under way. The kernel half marks an exchange as ended before it sends
    /// its record, so that one whose record was read is not seen here.
    fn walk(&self, visit: &mut dyn FnMut(&Exchange)) -> anyhow::Result<()>;
    /// Now on the clock of the records, in nanoseconds.
    fn now_ns(&self) -> u64;
}

/// The loaded kernel half with its ring.
pub struct FromKernel {
    /// Whose exchanges under way are walked over.
    pub kernel: Arc<Kernel>,
    /// The ring of those that have ended.
    pub ring: Arc<ExchangeRing>,
}

impl ExchangeSource for FromKernel {
    fn drain(&self, visit: &mut dyn FnMut(&Record)) {
        self.ring.drain(visit);
    }

    fn walk(&self, visit: &mut dyn FnMut(&Exchange)) -> anyhow::Result<()> {
        self.kernel.counts().walk_exchanges(visit)
    }

    fn now_ns(&self) -> u64 {
        kernel::now_ns()
    }
}

/// The counts of all targets' exchanges.
pub struct Exchanges {
    source: Box<dyn ExchangeSource>,
    state: Mutex<State>,
}

impl Exchanges {
    /// Counts what `source` tells of the targets in `targets`.
    pub fn new(
        targets: Arc<dyn TargetList>,
        source: impl ExchangeSource + 'static,
        settings: Settings,
    ) -> Self {
        settings.declare();
        Self { source: Box::new(source), state: Mutex::new(State::new(targets, settings)) }
    }

    /// Takes in the records that wait.
    pub fn take_in(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.drain(&mut state);
    }

    /// Takes in the records that wait and what is under way: what a scrape is to show. The lock is held throughout, so
    /// that the end of what the walk sees open is taken in behind it.
    pub(super) fn refresh(&self) -> anyhow::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.drain(&mut state);
        state.begin_walk();
        let now_ns = self.source.now_ns();
        self.source.walk(&mut |exchange| state.see(exchange, now_ns))
    }

    fn drain(&self, state: &mut State) {
        state.retry();
        self.source.drain(&mut |record| state.record(record));
    }

    /// Calls `show` with a target's counts, where it has any.
    pub(super) fn with<T>(&self, target: TargetId, show: impl FnOnce(&TargetCounts) -> T) -> Option<T> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.target(target).map(show)
    }

    /// A target's open streams by route and kind, as of the last scrape and without those that have ended since.
    pub(super) fn open(&self, target: TargetId) -> HashMap<(Row, usize), Open> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).open(target)
    }

    /// Now on the clock of the records, in nanoseconds.
    pub(super) fn now_ns(&self) -> u64 {
        self.source.now_ns()
    }
}
