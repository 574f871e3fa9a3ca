//! The state of one TCP connection, kept in its socket's storage and freed with it.
//! Sequence numbers become 64-bit positions here, so that a byte counts once however often it was sent.

use crate::peer::{CloseReason, Direction, FailReason, PeerKey};

/// `stage` of a connection whose SYN was sent.
pub const CONNECTING: u8 = 1;
/// `stage` of a connection that is open.
pub const OPEN: u8 = 2;
/// `stage` of a connection whose totals were added to its peer; its socket may live on.
pub const CLOSED: u8 = 3;

/// `flags`: it was open before the agent attached.
pub const PREEXISTING: u8 = 1;
/// `flags`: `sent_base`, `received_base` and `retransmitted_base` are known. Only an adopted connection that
/// had no packet since lacks it.
pub const BASED: u8 = 2;
/// `flags`: the TCP state says that the peer's FIN was received in order, so it took one sequence number.
pub const PEER_FIN: u8 = 4;

/// `ended` of a connection that no side has begun to close.
pub const NOT_ENDED: u8 = 0xff;

/// One TCP connection of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Connection {
    /// Target, direction and peer.
    pub peer: PeerKey,
    /// When it was opened, adopted, or its SYN sent; monotonic kernel clock, nanoseconds.
    pub since_ns: u64,
    /// When the first payload byte went either way; 0 while none did.
    pub first_byte_ns: u64,
    /// When its round-trip time was last sampled.
    pub rtt_ns: u64,
    /// The CPU that made this state: tells which of two programs that adopted it at once was first.
    pub made_by: u32,
    /// [`CONNECTING`], [`OPEN`] or [`CLOSED`].
    pub stage: u8,
    /// [`PREEXISTING`], [`BASED`], [`PEER_FIN`]; only programs that run under the socket's lock set one. What a packet tells
    /// has a byte of its own below: two CPUs that each set a bit of one byte can lose either.
    pub flags: u8,
    /// [`CloseReason`] of the side that closed first, [`NOT_ENDED`] before.
    pub ended: u8,
    /// 1 where there was no room for the connection's HTTP when it began, so it is not followed. The first cache line of the
    /// socket's storage ends here, 8 bytes of it are the kernel's. Every packet reads it, and what follows is written with
    /// packets, by the CPU of each direction.
    pub unfollowed: u8,
    /// Payload bytes sent, each once; up to date where [`Connection::sent_up_to`] says so.
    pub sent: u64,
    /// Sequence number of the first byte that `sent` counts.
    pub sent_base: u32,
    /// Retransmitted segments before the agent attached.
    pub retransmitted_base: u32,
    /// 1 where the own FIN passed, so `sent` is final.
    pub local_fin: u8,
    /// Always zero, to the end of the line.
    pub padding_of_sent: [u8; 47],
    /// Payload bytes received, each once; up to date where [`Connection::received_up_to`] says so.
    pub received: u64,
    /// Sequence number of the first byte that `received` counts.
    pub received_base: u32,
    /// 1 where a segment with the peer's FIN was seen, so `received` reaches up to it at least.
    pub peer_fin: u8,
    /// Always zero.
    pub padding_of_received: [u8; 3],
}

const _: () = assert!(size_of::<Connection>() == 136);
const _: () = assert!(core::mem::offset_of!(Connection, since_ns) == 24);
const _: () = assert!(core::mem::offset_of!(Connection, sent) == 64 - 8);
const _: () = assert!(core::mem::offset_of!(Connection, received) == 128 - 8);

/// An open connection, as the walk over all of them reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct OpenConnection {
    /// Target, direction and peer.
    pub peer: PeerKey,
    /// When it was opened or adopted; monotonic kernel clock, nanoseconds.
    pub since_ns: u64,
    /// When the first payload byte went either way; 0 while none did.
    pub first_byte_ns: u64,
    /// Payload bytes sent, each once.
    pub sent: u64,
    /// Payload bytes received, each once.
    pub received: u64,
    /// Segments sent again.
    pub retransmitted: u32,
    /// [`PREEXISTING`].
    pub flags: u32,
}

const _: () = assert!(size_of::<OpenConnection>() == 64);

/// TCP states as the kernel numbers them (`include/net/tcp_states.h`).
pub mod state {
    /// Both sides may send.
    pub const ESTABLISHED: u32 = 1;
    /// The SYN was sent.
    pub const SYN_SENT: u32 = 2;
    /// The SYN was received.
    pub const SYN_RECV: u32 = 3;
    /// The own FIN was sent.
    pub const FIN_WAIT1: u32 = 4;
    /// The own FIN was acknowledged.
    pub const FIN_WAIT2: u32 = 5;
    /// Gone.
    pub const CLOSE: u32 = 7;
    /// The peer's FIN was received.
    pub const CLOSE_WAIT: u32 = 8;
    /// Both FINs were sent, the peer's was received first.
    pub const LAST_ACK: u32 = 9;
    /// Both FINs crossed.
    pub const CLOSING: u32 = 11;
}

/// Whether a connection in this TCP state has been opened and not yet closed on both sides.
#[inline(always)]
pub const fn is_open(tcp_state: u32) -> bool {
    matches!(
        tcp_state,
        state::ESTABLISHED
            | state::FIN_WAIT1
            | state::FIN_WAIT2
            | state::CLOSE_WAIT
            | state::LAST_ACK
            | state::CLOSING
    )
}

/// Error numbers that a socket ends with (`include/uapi/asm-generic/errno.h`).
mod errno {
    pub(super) const PIPE: u32 = 32;
    pub(super) const NETUNREACH: u32 = 101;
    pub(super) const CONNRESET: u32 = 104;
    pub(super) const TIMEDOUT: u32 = 110;
    pub(super) const CONNREFUSED: u32 = 111;
    pub(super) const HOSTUNREACH: u32 = 113;
}

impl Connection {
    /// A connection that came to be at `now_ns`.
    #[inline(always)]
    pub const fn new(peer: PeerKey, stage: u8, now_ns: u64) -> Self {
        Self {
            peer,
            since_ns: now_ns,
            first_byte_ns: 0,
            rtt_ns: 0,
            sent: 0,
            received: 0,
            sent_base: 0,
            received_base: 0,
            retransmitted_base: 0,
            made_by: 0,
            stage,
            flags: 0,
            ended: NOT_ENDED,
            unfollowed: 0,
            local_fin: 0,
            padding_of_sent: [0; 47],
            peer_fin: 0,
            padding_of_received: [0; 3],
        }
    }

    /// A connection that was open when the agent attached, found in `tcp_state`. Bytes from before do not count.
    #[inline(always)]
    pub const fn adopted(peer: PeerKey, tcp_state: u32, now_ns: u64) -> Self {
        let mut connection = Self::new(peer, OPEN, now_ns);
        connection.flags = PREEXISTING;
        connection.ended = match tcp_state {
            state::FIN_WAIT1 | state::FIN_WAIT2 | state::CLOSING => CloseReason::LocalClose as u8,
            state::CLOSE_WAIT | state::LAST_ACK => CloseReason::PeerClose as u8,
            _ => NOT_ENDED,
        };
        connection
    }

    /// Takes note of a change of TCP state that is not the last one.
    #[inline(always)]
    pub fn state_changed(&mut self, new: u32) {
        if new == state::FIN_WAIT1 && self.ended == NOT_ENDED {
            self.ended = CloseReason::LocalClose as u8;
        }
        if new == state::CLOSE_WAIT && self.ended == NOT_ENDED {
            self.ended = CloseReason::PeerClose as u8;
        }
        if new == state::CLOSE_WAIT || new == state::CLOSING {
            self.flags |= PEER_FIN;
        }
    }

    /// Why it ended, at the change to [`state::CLOSE`]: whoever closed first, else the socket's error.
    #[inline(always)]
    pub fn close_reason(&self, socket_error: u32) -> u8 {
        if self.ended != NOT_ENDED {
            return self.ended;
        }
        match socket_error {
            // tcp_reset() sets EPIPE where the peer's FIN had come first, which a bare socket cannot tell.
            errno::CONNRESET | errno::PIPE => CloseReason::PeerReset as u8,
            errno::TIMEDOUT | errno::HOSTUNREACH | errno::NETUNREACH => CloseReason::Timeout as u8,
            _ => CloseReason::LocalReset as u8,
        }
    }

    /// The position of `sequence` in a stream that began at `base` and has reached `position`.
    #[inline(always)]
    pub fn advance(base: u32, position: u64, sequence: u32) -> i32 {
        sequence.wrapping_sub(base.wrapping_add(position as u32)).cast_signed()
    }

    /// A segment of `length` payload bytes from `sequence` on went out.
    #[inline(always)]
    pub fn segment_sent(&mut self, sequence: u32, length: u32) {
        let advance = Self::advance(self.sent_base, self.sent, sequence.wrapping_add(length));
        if advance > 0 {
            self.sent += u64::from(advance.cast_unsigned());
        }
    }

    /// A segment of `length` payload bytes from `sequence` on came in. One that lies ahead counts at once; if
    /// what is missing before it never comes, [`Connection::received_up_to`] takes it back.
    #[inline(always)]
    pub fn segment_received(&mut self, sequence: u32, length: u32) {
        let advance = Self::advance(self.received_base, self.received, sequence.wrapping_add(length));
        // No receive window is larger than 1 GiB (RFC 7323 section 2.3), so this is no segment of it.
        if advance > 0 && advance < 1 << 30 {
            self.received += u64::from(advance.cast_unsigned());
        }
    }

    /// Payload bytes sent, given the sequence number that the kernel sends next: most segments of HTTP pass without being
    /// counted here. The FIN, which has a number too, does not.
    #[inline(always)]
    pub fn sent_up_to(&self, next: u32) -> u64 {
        let advance = Self::advance(self.sent_base, self.sent, next);
        if self.local_fin != 0 || advance < 0 {
            return self.sent;
        }
        self.sent + u64::from(advance.cast_unsigned())
    }

    /// Payload bytes received in order, given the next sequence number that the kernel expects. The kernel's
    /// word is final: a segment that completed the handshake passed by on the listener's socket.
    #[inline(always)]
    pub fn received_up_to(&self, next: u32) -> u64 {
        let mut advance = Self::advance(self.received_base, self.received, next);
        if self.peer_fin != 0 {
            advance = advance.min(0);
        } else if self.flags & PEER_FIN != 0 {
            advance -= 1;
        }
        self.received.wrapping_add_signed(i64::from(advance))
    }
}

/// Why a connect failed, by the error that its socket ended with.
#[inline(always)]
pub fn fail_reason(socket_error: u32) -> u8 {
    let reason = match socket_error {
        errno::CONNREFUSED => FailReason::Refused,
        errno::TIMEDOUT => FailReason::Timeout,
        errno::NETUNREACH | errno::HOSTUNREACH => FailReason::Unreachable,
        errno::CONNRESET => FailReason::Reset,
        _ => FailReason::Other,
    };
    reason as u8
}

/// The key of a connection's peer: an inbound one is counted with all others of its target.
#[inline(always)]
pub const fn peer_key(target: u32, direction: Direction, address: [u8; 16], port: u16) -> PeerKey {
    match direction {
        Direction::Inbound => PeerKey::shared(target, direction),
        Direction::Outbound => PeerKey { target, direction: direction as u8, padding: 0, port, address },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(sent_base: u32, received_base: u32) -> Connection {
        let mut connection = Connection::new(PeerKey::shared(1, Direction::Inbound), OPEN, 1);
        (connection.sent_base, connection.received_base, connection.flags) =
            (sent_base, received_base, BASED);
        connection
    }

    #[test]
    fn a_byte_counts_once_across_the_wrap_of_sequence_numbers() {
        let mut connection = open(u32::MAX - 10, 0);
        connection.segment_sent(u32::MAX - 10, 20);
        connection.segment_sent(u32::MAX - 10, 20);
        connection.segment_sent(9, 5);
        connection.segment_sent(4, 10);
        assert_eq!(connection.sent, 25);
        for segment in 0..10_u32 {
            connection.segment_sent(14_u32.wrapping_add(segment.wrapping_mul(1 << 30)), 1 << 30);
        }
        assert_eq!(connection.sent, 25 + (10 << 30));
    }

    #[test]
    fn what_came_out_of_order_counts_only_once_the_hole_is_filled() {
        let mut connection = open(0, 1000);
        connection.segment_received(1000, 100);
        connection.segment_received(1200, 100);
        assert_eq!(connection.received_up_to(1100), 100);
        connection.segment_received(1100, 100);
        assert_eq!(connection.received_up_to(1300), 300);
    }

    #[test]
    fn segments_that_passed_uncounted_are_counted_by_what_the_kernel_sends_next() {
        let mut connection = open(1000, 0);
        connection.segment_sent(1000, 100);
        assert_eq!(connection.sent_up_to(1500), 500);
        assert_eq!(connection.sent_up_to(1050), 100);
        connection.segment_sent(1600, 10);
        assert_eq!(connection.sent_up_to(1610), 610);
        connection.local_fin = 1;
        assert_eq!(connection.sent_up_to(1611), 610);
    }

    #[test]
    fn a_segment_outside_every_window_is_none_of_the_connection() {
        let mut connection = open(0, 1000);
        connection.segment_received(1000 + (1 << 30), 1);
        connection.segment_received(10, 100);
        assert_eq!(connection.received, 0);
    }

    #[test]
    fn data_of_the_handshake_counts_and_a_fin_does_not() {
        let mut connection = open(0, 1000);
        assert_eq!(connection.received_up_to(1050), 50);
        connection.state_changed(state::CLOSE_WAIT);
        assert_eq!(connection.received_up_to(1051), 50);
        connection.segment_received(1050, 0);
        connection.peer_fin = 1;
        assert_eq!(connection.received_up_to(1051), 50);
    }

    #[test]
    fn a_fin_that_came_before_the_data_in_front_of_it_is_no_data() {
        let mut connection = open(0, 1000);
        connection.segment_received(1010, 0);
        connection.peer_fin = 1;
        assert_eq!(connection.received_up_to(1000), 0);
        assert_eq!(connection.received_up_to(1011), 10);
    }

    #[test]
    fn the_first_thing_that_ended_it_is_the_reason() {
        let reason = |states: &[u32], error| {
            let mut connection = open(0, 0);
            for state in states {
                connection.state_changed(*state);
            }
            connection.close_reason(error)
        };
        assert_eq!(reason(&[state::FIN_WAIT1, state::FIN_WAIT2], 0), CloseReason::LocalClose as u8);
        assert_eq!(reason(&[state::FIN_WAIT1, state::CLOSING], 0), CloseReason::LocalClose as u8);
        assert_eq!(reason(&[state::CLOSE_WAIT, state::LAST_ACK], 0), CloseReason::PeerClose as u8);
        assert_eq!(reason(&[state::CLOSE_WAIT], errno::PIPE), CloseReason::PeerClose as u8);
        assert_eq!(reason(&[], errno::CONNRESET), CloseReason::PeerReset as u8);
        assert_eq!(reason(&[], errno::TIMEDOUT), CloseReason::Timeout as u8);
        assert_eq!(reason(&[], 0), CloseReason::LocalReset as u8);
    }
}
