//! When a connection was last of use, by which idle ones are found.
//! Written by the connection's own task, read by the one that makes room.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// In place of a time while a request is being answered.
const BUSY: u64 = u64::MAX;

/// When a connection was last of use, as milliseconds since it was opened.
pub(super) struct Activity {
    opened: Instant,
    idle_since: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { opened: Instant::now(), idle_since: AtomicU64::new(0) }
    }

    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    pub(super) fn begin(&self) {
        self.idle_since.store(BUSY, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        let elapsed = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(BUSY - 1);
        self.idle_since.store(elapsed, Ordering::Relaxed);
    }

    /// None while a request is being answered.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        match self.idle_since.load(Ordering::Relaxed) {
            BUSY => None,
            elapsed => Some(self.opened + Duration::from_millis(elapsed)),
        }
    }
}
