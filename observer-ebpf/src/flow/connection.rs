//! The state of one TCP connection, kept in its socket's storage and freed with it: who it is, its bytes, its end.
//! Knows sequence numbers and TCP states; nothing of what the bytes mean.

use crate::{
    detector::START,
    framer::{REQUEST, RESPONSE},
    records::peer::{CloseReason, Direction, FailReason, PeerKey},
};

/// `stage` of a connection whose SYN was sent.
pub const CONNECTING: u8 = 1;
/// `stage` of a connection that is open.
pub const OPEN: u8 = 2;
/// `stage` of a connection whose totals were added to its peer; its socket may live on.
pub const CLOSED: u8 = 3;

/// `flags`: it was open before the agent attached.
pub const PREEXISTING: u8 = 1;

/// `ended` of a connection that no side has begun to close.
pub const NOT_ENDED: u8 = 0xff;

/// `made_by` of a connection that the agent adopted.
pub const MADE_BY_AGENT: u16 = u16::MAX;

/// What a connection was found to carry, in [`Connection::protocol`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Carries {
    /// Its client has not said enough yet.
    Undecided = 0,
    /// HTTP/1.x, which is followed.
    Http = 1,
    /// HTTP/1.x that is not followed, for lack of room.
    Unfollowed = 2,
    /// TLS records.
    Tls = 3,
    /// Redis' protocol.
    Redis = 4,
    /// The protocol of `PostgreSQL`.
    Postgresql = 5,
    /// DNS messages.
    Dns = 6,
    /// None of these, or what follows an end of HTTP.
    Unknown = 7,
}

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
    pub made_by: u16,
    /// [`CONNECTING`], [`OPEN`] or [`CLOSED`].
    pub stage: u8,
    /// [`PREEXISTING`]; never changes. What is learnt later has a byte of its own: two CPUs that each set a bit of one byte
    /// can lose either.
    pub flags: u8,
    /// [`CloseReason`] of the side that closed first, [`NOT_ENDED`] before.
    pub ended: u8,
    /// [`Carries`].
    pub protocol: u8,
    /// 1 where the bases below are known. Only an adopted connection that had no packet since lacks them.
    pub based: u8,
    /// 1 where it has not been found out whether it is the target's own call. The first cache line of the socket's storage ends
    /// here, 8 bytes of it are the kernel's. Every packet reads it, and what follows is written with packets, by the CPU of each
    /// direction.
    pub unidentified: u8,
    /// Payload bytes sent, each once; up to date where [`Connection::sent_up_to`] says so.
    pub sent: u64,
    /// Sequence number of the first byte that `sent` counts.
    pub sent_base: u32,
    /// Retransmitted segments before the agent attached.
    pub retransmitted_base: u32,
    /// The number of the last walk that reported it.
    pub walk: u32,
    /// 1 where the own FIN passed, so `sent` is final.
    pub local_fin: u8,
    /// Always zero, to the end of the line.
    pub padding_of_sent: [u8; 43],
    /// What the kernel had counted as received (`tcp_sock.bytes_received`) before the first byte that counts here.
    pub received_total_base: u64,
    /// Sequence number of the first byte that counts as received.
    pub received_base: u32,
    /// Behind the highest byte that came.
    pub received_highest: u32,
    /// Sequence number of the client's first byte, behind a PROXY header.
    pub client_at: u32,
    /// Bytes of the client that came ahead of its first: where they begin,
    pub ahead_start: u32,
    /// and where they end; equal where there are none.
    pub ahead_end: u32,
    /// Bytes of `start` in use.
    pub start_length: u8,
    /// 1 where the peer's FIN was received before the bases were taken.
    pub fin_in_base: u8,
    /// 1 where a packet with the peer's FIN came.
    pub has_peer_fin: u8,
    /// Always zero.
    pub padding_of_start: u8,
    /// Its sequence number.
    pub peer_fin: u32,
    /// Always zero.
    pub padding_of_fin: u32,
    /// The client's first bytes, while they are too few to tell what it speaks; zeros behind them.
    pub start: [u64; START / 8],
}

/// With what the kernel puts before it (72 bytes, `struct bpf_local_storage_elem`) it fits its allocator's 256.
const _: () = assert!(size_of::<Connection>() == 184);
const _: () = assert!(core::mem::offset_of!(Connection, since_ns) == 24);
const _: () = assert!(core::mem::offset_of!(Connection, sent) == 64 - 8);
const _: () = assert!(core::mem::offset_of!(Connection, received_total_base) == 128 - 8);

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

/// Tells whether a connection in this TCP state has been opened and not yet closed on both sides.
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
    /// Describes a connection that came to be at `now_ns`.
    #[inline(always)]
    pub const fn new(peer: PeerKey, stage: u8, now_ns: u64) -> Self {
        Self {
            peer,
            since_ns: now_ns,
            first_byte_ns: 0,
            rtt_ns: 0,
            made_by: 0,
            stage,
            flags: 0,
            ended: NOT_ENDED,
            protocol: Carries::Undecided as u8,
            based: 0,
            unidentified: 0,
            sent: 0,
            sent_base: 0,
            retransmitted_base: 0,
            walk: 0,
            local_fin: 0,
            padding_of_sent: [0; 43],
            received_total_base: 0,
            received_base: 0,
            received_highest: 0,
            client_at: 0,
            ahead_start: 0,
            ahead_end: 0,
            start_length: 0,
            fin_in_base: 0,
            has_peer_fin: 0,
            padding_of_start: 0,
            peer_fin: 0,
            padding_of_fin: 0,
            start: [0; START / 8],
        }
    }

    /// Describes a connection that was open when the agent attached, found in `tcp_state`. Bytes from before do not count.
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

    /// Tells whether the target accepted it.
    #[inline(always)]
    pub const fn is_inbound(&self) -> bool {
        self.peer.direction == Direction::Inbound as u8
    }

    /// Tells which half outgoing or incoming bytes belong to.
    #[inline(always)]
    pub const fn side(&self, outgoing: bool) -> u32 {
        if self.is_inbound() == outgoing { RESPONSE } else { REQUEST }
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
    fn advance(base: u32, position: u64, sequence: u32) -> i32 {
        sequence.wrapping_sub(base.wrapping_add(position as u32)).cast_signed()
    }

    /// Counts a segment of `length` payload bytes from `sequence` on that went out; how many of them are new.
    #[inline(always)]
    pub fn segment_sent(&mut self, sequence: u32, length: u32) -> u32 {
        let advance = Self::advance(self.sent_base, self.sent, sequence.wrapping_add(length));
        if advance <= 0 {
            return 0;
        }
        self.sent += u64::from(advance.cast_unsigned());
        advance.cast_unsigned()
    }

    /// Notes a segment of `length` payload bytes from `sequence` on that came in; how many of them are new. What is received
    /// is the kernel's to say: [`Connection::received_up_to`].
    #[inline(always)]
    pub fn segment_received(&mut self, sequence: u32, length: u32) -> u32 {
        let end = sequence.wrapping_add(length);
        let new = end.wrapping_sub(self.received_highest).cast_signed();
        if new <= 0 {
            return 0;
        }
        self.received_highest = end;
        new.cast_unsigned()
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

    /// Payload bytes received in order, given what the kernel has taken: the sequence number that it expects next, the bytes
    /// that it has counted, and whether it has taken the peer's FIN. What a packet claims changes nothing here.
    ///
    /// The kernel counts a FIN as a byte in both; in data of a SYN it does so in the first only. So the first tells the lower
    /// half, and the second, which may be one off, the upper.
    #[inline(always)]
    pub fn received_up_to(&self, next: u32, total: u64, fin_taken: bool) -> u64 {
        // The kernel counts the FIN a moment before it says so, but a packet told where it is.
        let fin_taken = fin_taken || (self.has_peer_fin != 0 && next == self.peer_fin.wrapping_add(1));
        let fin = u32::from(fin_taken && self.fin_in_base == 0);
        let lower = next.wrapping_sub(self.received_base).wrapping_sub(fin);
        let about = total.wrapping_sub(self.received_total_base);
        let off = lower.wrapping_sub(about as u32).cast_signed();
        about.wrapping_add_signed(i64::from(off))
    }

    /// Adds `more` behind the first `held` bytes of the client; both are zero behind their end.
    #[inline(always)]
    pub fn add_start(&mut self, held: u32, more: [u64; START / 8]) {
        let bits = (held & 7) * 8;
        // In two steps, because a shift by all bits of a word is none.
        let carried = |word: u64| (word >> 1) >> (63 - bits);
        let moved = [more[0] << bits, more[1] << bits | carried(more[0]), more[2] << bits | carried(more[1])];
        if held < 8 {
            self.start[0] |= moved[0];
            self.start[1] |= moved[1];
            self.start[2] |= moved[2];
        } else if held < 16 {
            self.start[1] |= moved[0];
            self.start[2] |= moved[1];
        } else {
            self.start[2] |= moved[0];
        }
    }

    /// Notes bytes of the client that came ahead of its first. Two that do not touch become one with what is between.
    #[inline(always)]
    pub fn client_ahead(&mut self, sequence: u32, length: u32) {
        let end = sequence.wrapping_add(length);
        if self.ahead_start == self.ahead_end {
            (self.ahead_start, self.ahead_end) = (sequence, end);
            return;
        }
        if sequence.wrapping_sub(self.ahead_start).cast_signed() < 0 {
            self.ahead_start = sequence;
        }
        if end.wrapping_sub(self.ahead_end).cast_signed() > 0 {
            self.ahead_end = end;
        }
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
        (connection.sent_base, connection.received_base, connection.based) = (sent_base, received_base, 1);
        connection.received_highest = received_base;
        connection
    }

    #[test]
    fn a_byte_counts_once_across_the_wrap_of_sequence_numbers() {
        let mut connection = open(u32::MAX - 10, 0);
        assert_eq!(connection.segment_sent(u32::MAX - 10, 20), 20);
        assert_eq!(connection.segment_sent(u32::MAX - 10, 20), 0);
        connection.segment_sent(9, 5);
        assert_eq!(connection.segment_sent(4, 11), 1);
        assert_eq!(connection.sent, 26);
        for segment in 0..10_u32 {
            connection.segment_sent(15_u32.wrapping_add(segment.wrapping_mul(1 << 30)), 1 << 30);
        }
        assert_eq!(connection.sent, 26 + (10 << 30));
    }

    #[test]
    fn what_was_received_is_what_the_kernel_took_whatever_packets_claimed() {
        let mut connection = open(0, 1000);
        for claim in 0..100_u32 {
            connection.segment_received(claim.wrapping_mul(0x3fff_ffff), 1448);
        }
        assert_eq!(connection.received_up_to(1300, 300, false), 300);
        let huge = 5_u64 << 32;
        assert_eq!(connection.received_up_to(1000_u32.wrapping_add(7), huge + 7, false), huge + 7);
    }

    #[test]
    fn the_peers_fin_is_no_byte_in_whichever_way_the_kernel_counted_it() {
        let mut connection = open(0, 1000);
        assert_eq!(connection.received_up_to(1051, 51, true), 50);
        // In data of a SYN the kernel's total leaves it out.
        assert_eq!(connection.received_up_to(1051, 50, true), 50);
        // It came before the connection was adopted.
        connection.fin_in_base = 1;
        assert_eq!(connection.received_up_to(1000, 0, true), 0);
    }

    #[test]
    fn a_fin_is_no_byte_in_the_moment_before_the_kernel_says_that_it_took_it() {
        let mut connection = open(0, 1000);
        (connection.has_peer_fin, connection.peer_fin) = (1, 1050);
        assert_eq!(connection.received_up_to(1051, 51, false), 50);
        assert_eq!(connection.received_up_to(1050, 50, false), 50);
    }

    #[test]
    fn first_bytes_are_put_together_wherever_they_were_cut() {
        let bytes: [u8; START] = core::array::from_fn(|index| index as u8 + 1);
        let words = |part: &[u8]| {
            let mut padded = [0_u8; START];
            padded[..part.len()].copy_from_slice(part);
            core::array::from_fn(|index| {
                u64::from_le_bytes(padded[index * 8..index * 8 + 8].try_into().unwrap())
            })
        };
        for first in 0..START {
            for second in first..=START {
                let mut connection = open(0, 0);
                connection.add_start(0, words(&bytes[..first]));
                connection.add_start(first as u32, words(&bytes[first..second]));
                assert_eq!(connection.start, words(&bytes[..second]), "{first} and {second}");
            }
        }
    }

    #[test]
    fn a_reused_socket_goes_on_from_what_it_had_received_before() {
        let mut connection = open(0, u32::MAX);
        connection.received_total_base = 1 << 40;
        assert_eq!(connection.received_up_to(9, (1 << 40) + 10, false), 10);
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
    fn a_byte_that_comes_twice_is_new_once() {
        let mut connection = open(0, 1000);
        assert_eq!(connection.segment_received(1000, 100), 100);
        assert_eq!(connection.segment_received(1000, 100), 0);
        assert_eq!(connection.segment_received(1050, 100), 50);
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
