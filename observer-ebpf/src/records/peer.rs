//! Counts per target and peer: everything that outlives a connection.
//! The kernel adds to them as connections open and close; the agent reads them at a scrape.

use super::histogram::{Long, Short};

/// Who opened the connection, seen from the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// The target accepted it.
    Inbound = 0,
    /// The target opened it.
    Outbound = 1,
}

/// Why a connection ended: the first thing that ended it, not what followed from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseReason {
    /// The target sent its FIN first.
    LocalClose = 0,
    /// The peer's FIN came first.
    PeerClose = 1,
    /// The target reset an open connection: an abort, or a close with data unread.
    LocalReset = 2,
    /// The peer reset an open connection.
    PeerReset = 3,
    /// Retransmissions or keep-alive probes went unanswered, or the path was gone.
    Timeout = 4,
}

/// Why a connection that the target tried to open never opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FailReason {
    /// A reset in answer to the SYN.
    Refused = 0,
    /// No answer at all.
    Timeout = 1,
    /// The network or the host could not be reached.
    Unreachable = 2,
    /// A reset after the handshake had begun.
    Reset = 3,
    /// The target gave up by itself, or another error.
    Other = 4,
}

/// Values of the label `reason` of closed connections, by [`CloseReason`].
pub const CLOSE_REASONS: [&str; 5] = ["local_close", "peer_close", "local_reset", "peer_reset", "timeout"];
/// Values of the label `reason` of failed connects, by [`FailReason`].
pub const FAIL_REASONS: [&str; 5] = ["refused", "timeout", "unreachable", "reset", "other"];

/// A target's peer. All inbound connections of a target share one key, with address and port zero; so do the
/// outbound connections that found the map full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct PeerKey {
    /// The target's number.
    pub target: u32,
    /// [`Direction`].
    pub direction: u8,
    /// Always zero: padding is part of a hash key.
    pub padding: u8,
    /// The peer's port, host byte order.
    pub port: u16,
    /// The peer's address, network byte order; an IPv4 address is IPv4-mapped.
    pub address: [u8; 16],
}

impl PeerKey {
    /// The key that a target's inbound connections share, or its outbound ones without a place of their own.
    #[inline(always)]
    pub const fn shared(target: u32, direction: Direction) -> Self {
        Self { target, direction: direction as u8, padding: 0, port: 0, address: [0; 16] }
    }

    /// Whether connections of several peers share it: none has the port zero.
    #[inline(always)]
    pub const fn is_shared(&self) -> bool {
        self.port == 0
    }
}

/// What happened with one peer since the entry was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PeerTotals {
    /// Connections opened.
    pub opened: u64,
    /// Connections that were open before the agent attached, and were adopted by the kernel half.
    pub preexisting: u64,
    /// Connections closed, by [`CloseReason`].
    pub closed: [u64; CLOSE_REASONS.len()],
    /// Connects that failed, by [`FailReason`].
    pub failed: [u64; FAIL_REASONS.len()],
    /// Payload bytes that closed connections sent; what open ones sent is on their sockets.
    pub sent: u64,
    /// Payload bytes that closed connections received.
    pub received: u64,
    /// Segments that closed connections, and connects that failed, sent again.
    pub retransmitted: u64,
    /// Time from SYN to established.
    pub connect: Short,
    /// Time from established to closed.
    pub duration: Long,
    /// Smoothed round-trip times, sampled.
    pub rtt: Short,
}

impl PeerTotals {
    /// Nothing happened yet.
    pub const EMPTY: Self = Self {
        opened: 0,
        preexisting: 0,
        closed: [0; CLOSE_REASONS.len()],
        failed: [0; FAIL_REASONS.len()],
        sent: 0,
        received: 0,
        retransmitted: 0,
        connect: Short::EMPTY,
        duration: Long::EMPTY,
        rtt: Short::EMPTY,
    };
}

/// Adds up histograms of the same bounds.
fn add_histogram<const BUCKETS: usize>(
    to: &mut super::histogram::Histogram<BUCKETS>,
    other: &super::histogram::Histogram<BUCKETS>,
) {
    to.buckets.iter_mut().zip(other.buckets).for_each(|(to, other)| *to += other);
    to.sum_ns += other.sum_ns;
}

impl core::ops::AddAssign<&Self> for PeerTotals {
    fn add_assign(&mut self, other: &Self) {
        let Self {
            opened,
            preexisting,
            closed,
            failed,
            sent,
            received,
            retransmitted,
            connect,
            duration,
            rtt,
        } = self;
        *opened += other.opened;
        *preexisting += other.preexisting;
        closed.iter_mut().zip(other.closed).for_each(|(to, other)| *to += other);
        failed.iter_mut().zip(other.failed).for_each(|(to, other)| *to += other);
        *sent += other.sent;
        *received += other.received;
        *retransmitted += other.retransmitted;
        add_histogram(connect, &other.connect);
        add_histogram(duration, &other.duration);
        add_histogram(rtt, &other.rtt);
    }
}

impl PeerTotals {
    /// How many connections are open now. A close that was read before its opening makes none.
    pub fn active(&self) -> u64 {
        (self.opened + self.preexisting).saturating_sub(self.closed.iter().sum())
    }
}

const _: () = assert!(size_of::<PeerKey>() == 24);
const _: () = assert!(core::mem::offset_of!(PeerKey, address) == 8);
const _: () = assert!(size_of::<PeerTotals>() == 8 * (2 + 5 + 5 + 3 + 18 + 16 + 18));
const _: () = assert!(core::mem::offset_of!(PeerTotals, connect) == 8 * 15);
