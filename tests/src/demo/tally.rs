//! What happened to a set of connections, in the words of the metric contract.
//! Always told as the target saw it, whichever side counted.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;

/// The label `reason` of `chat_tcp_connections_closed_total`, as far as the load generator can cause it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The target closed first.
    LocalClose,
    /// The other side closed first.
    PeerClose,
    /// The target reset it.
    LocalReset,
    /// The other side reset it.
    PeerReset,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::LocalClose, Self::PeerClose, Self::LocalReset, Self::PeerReset];

    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::LocalClose => "local_close",
            Self::PeerClose => "peer_close",
            Self::LocalReset => "local_reset",
            Self::PeerReset => "peer_reset",
        }
    }

    /// The same end seen from the other side.
    const fn mirrored(self) -> Self {
        match self {
            Self::LocalClose => Self::PeerClose,
            Self::PeerClose => Self::LocalClose,
            Self::LocalReset => Self::PeerReset,
            Self::PeerReset => Self::LocalReset,
        }
    }
}

/// Which side of the connections a ledger counts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Inside the target.
    Target,
    /// At the other end.
    Peer,
}

/// Counts of connections, in the target's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Connections opened.
    pub opened: u64,
    /// Those that are open now.
    pub open: u64,
    /// Those that ended, by reason; one that did not occur is absent.
    pub closed: BTreeMap<Reason, u64>,
    /// Payload bytes that the target sent.
    pub sent_bytes: u64,
    /// Payload bytes that the target received.
    pub received_bytes: u64,
}

impl Tally {
    /// What happened since `earlier`, and what is open now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |reason| earlier.closed.get(reason).copied().unwrap_or_default();
        let closed = self.closed.iter().map(|(reason, count)| (*reason, count - before(reason)));
        Self {
            opened: self.opened - earlier.opened,
            open: self.open,
            closed: closed.collect(),
            sent_bytes: self.sent_bytes - earlier.sent_bytes,
            received_bytes: self.received_bytes - earlier.received_bytes,
        }
    }
}

/// Counts connections while they live; `tally` tells them at any time.
#[derive(Debug)]
pub struct Ledger {
    side: Side,
    opened: AtomicU64,
    read: AtomicU64,
    written: AtomicU64,
    closed: Mutex<BTreeMap<Reason, u64>>,
}

impl Ledger {
    /// An empty one for connections of `side`.
    pub const fn new(side: Side) -> Self {
        Self {
            side,
            opened: AtomicU64::new(0),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            closed: Mutex::new(BTreeMap::new()),
        }
    }

    /// The counts so far.
    pub fn tally(&self) -> Tally {
        let (read, written) = (self.read.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed));
        let (sent_bytes, received_bytes) = match self.side {
            Side::Target => (written, read),
            Side::Peer => (read, written),
        };
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let opened = self.opened.load(Ordering::Relaxed);
        Tally { opened, open: opened - closed.values().sum::<u64>(), closed, sent_bytes, received_bytes }
    }

    /// A connection was opened.
    pub(super) fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// `bytes` were read by the side that counts.
    pub(super) fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// `bytes` were written by the side that counts.
    pub(super) fn written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A connection ended; `reason` is in the words of the side that counts.
    pub(super) fn closed(&self, reason: Reason) {
        let reason = if self.side == Side::Target { reason } else { reason.mirrored() };
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_s_ledger_tells_what_the_target_saw() {
        let ledger = Ledger::new(Side::Peer);
        ledger.opened();
        ledger.opened();
        ledger.read(10);
        ledger.written(3);
        ledger.closed(Reason::LocalReset);
        let closed = BTreeMap::from([(Reason::PeerReset, 1)]);
        let expected = Tally { opened: 2, open: 1, closed, sent_bytes: 10, received_bytes: 3 };
        assert_eq!(ledger.tally(), expected);
    }
}
