//! HTTP exchanges, from the kernel half's records to their metrics: a folder per section of the metrics, and beside
//! them what all sections need. A reader of the ring and each scrape take records in, under one lock.

mod ahead;
pub mod app_events;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod histogram;
pub mod record;
pub mod requests;
pub mod routes;
mod settings;
mod state;
pub mod status;
pub mod streams;
mod table;
mod target;
#[cfg(test)]
mod tests;
pub mod upstream;

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
};

use observer_ebpf::records::exchange::Exchange;
use tokio::sync::broadcast;

pub use self::settings::{Settings, StreamTimes};
use self::{
    state::{Open, State},
    table::Row,
    target::TargetCounts,
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

/// Records that wait for a scrape that holds the counts; with more, whoever reads the ring waits too.
const WAITING: usize = 16_384;
/// Records that a listener may lag behind by before it loses its oldest.
const LAG: usize = 1024;

/// The counts of all targets' exchanges.
///
/// Records go from the ring to a queue, to be counted, and to everybody who listens. Neither waits for a scrape, which
/// holds the counts for as long as its walk takes.
pub struct Exchanges {
    source: Box<dyn ExchangeSource>,
    /// Read and not counted yet, in their order. Locked before the ring and after the counts, never for long.
    queue: Mutex<Vec<Record>>,
    listeners: broadcast::Sender<Record>,
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
        Self {
            source: Box::new(source),
            queue: Mutex::default(),
            listeners: broadcast::Sender::new(LAG),
            state: Mutex::new(State::new(targets, settings)),
        }
    }

    /// Hears every record from now on, in the order of the ring. Whoever lags loses records and is told how many; the
    /// counts and other listeners lose nothing by it.
    pub fn listen(&self) -> broadcast::Receiver<Record> {
        self.listeners.subscribe()
    }

    /// Reads the ring, tells the listeners, and counts, unless a scrape is about to do that.
    pub fn take_in(&self) {
        if lock(&self.queue).len() >= WAITING {
            self.count(&mut lock(&self.state));
        }
        self.read();
        match self.state.try_lock() {
            Ok(mut state) => self.count(&mut state),
            Err(TryLockError::Poisoned(poisoned)) => self.count(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Takes in the records that wait and what is under way: what a scrape is to show. The lock is held throughout, so
    /// that the end of what the walk sees open is taken in behind it.
    fn refresh(&self) -> anyhow::Result<()> {
        let mut state = lock(&self.state);
        self.read();
        self.count(&mut state);
        state.begin_walk();
        let now_ns = self.source.now_ns();
        self.source.walk(&mut |exchange| state.see(exchange, now_ns))
    }

    /// Moves what is in the ring to the queue and to the listeners.
    fn read(&self) {
        let mut queue = lock(&self.queue);
        self.source.drain(&mut |record| {
            queue.push(*record);
            if self.listeners.receiver_count() > 0 {
                // An error means that the last listener has just left.
                self.listeners.send(*record).ok();
            }
        });
    }

    /// Counts what is in the queue.
    fn count(&self, state: &mut State) {
        let records = mem::take(&mut *lock(&self.queue));
        state.retry();
        for record in &records {
            state.record(record);
        }
    }

    /// Calls `show` with a target's counts, where it has any.
    fn with<T>(&self, target: TargetId, show: impl FnOnce(&TargetCounts) -> T) -> Option<T> {
        lock(&self.state).target(target).map(show)
    }

    /// A target's open streams by route and kind, as of the last scrape and without those that have ended since.
    fn open(&self, target: TargetId) -> HashMap<(Row, usize), Open> {
        lock(&self.state).open(target)
    }

    /// Now on the clock of the records, in nanoseconds.
    fn now_ns(&self) -> u64 {
        self.source.now_ns()
    }
}

/// What a panic in another thread has left is still the counts.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
