//! The value that a socket's storage holds while the HTTP of its connection is followed: the framer's state, and TCP's order.
//! Made once the first bytes have told that it is HTTP, and deleted when that is over.

use super::connection::Connection;
use crate::{
    framer::{REQUEST, RESPONSE, ahead},
    http1::state::{Http, NO_REQUEST, STORAGE_HEADER, Stage},
    order::{Interval, Order},
    records::exchange::SELF_CALL,
};

/// HTTP on a connection of packets.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Followed {
    /// What the framer keeps; its first cache line is the storage's.
    pub http: Http,
    /// Where TCP's order stands, by [`REQUEST`] and [`RESPONSE`].
    pub orders: [Order; 2],
    /// The number of the last walk that reported it.
    pub walk: u32,
    /// Padding, always zero.
    pub padding: u32,
}

const _: () = assert!((core::mem::offset_of!(Followed, orders) + STORAGE_HEADER).is_multiple_of(64));

/// What a connection is, as its records say it.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// [`crate::records::exchange::Exchange::id`].
    pub id: u64,
    /// From when on a gap is a stall, in nanoseconds.
    pub stall_ns: u64,
    /// Whether both ends belong to the target.
    pub calls_itself: bool,
}

/// The number of a target, and whether its end of the connection is the server's, in one number.
#[inline(always)]
pub const fn owner(target: u32, serves: bool) -> u32 {
    target << 1 | serves as u32
}

impl Followed {
    /// Nothing seen yet.
    pub const EMPTY: Self = {
        // SAFETY: integers and arrays of them only, of which zero is a value.
        unsafe { core::mem::zeroed() }
    };

    /// Says whose connection it is.
    #[inline(always)]
    pub fn identify(&mut self, connection: &Connection, identity: Identity) {
        let http = &mut self.http;
        http.exchange.target = connection.peer.target;
        http.exchange.direction = connection.peer.direction;
        // Zero of an inbound connection, like all of its peer.
        http.exchange.port = connection.peer.port;
        http.exchange.id = identity.id;
        http.owner = owner(connection.peer.target, connection.is_inbound());
        http.stall_ns = identity.stall_ns;
        http.flags = if identity.calls_itself { SELF_CALL as u8 } else { 0 };
    }

    /// Begins to follow a connection whose next bytes are at the sequence numbers `next`, by side. `preexisting` if what is
    /// under way may be older than the agent.
    #[inline(always)]
    pub fn begin(&mut self, next: [u32; 2], preexisting: bool) {
        self.http.exchange.index = NO_REQUEST;
        for side in [REQUEST, RESPONSE] {
            let order = &mut self.orders[side as usize];
            (order.next, order.long_way, order.highest) =
                (next[side as usize], next[side as usize], next[side as usize]);
        }
        if preexisting {
            self.http.preexisting = 1;
            self.http.halves[0].stage = Stage::Resync as u8;
            self.http.halves[1].stage = Stage::Resync as u8;
        }
    }

    /// Gives the framer the first `held` bytes of the client, which were held while they were too few, and what came ahead of
    /// the others.
    #[inline(always)]
    pub fn take_start(&mut self, connection: &Connection, held: u32) {
        let order = &mut self.orders[REQUEST as usize];
        order.highest = connection.client_at;
        if connection.ahead_start != connection.ahead_end {
            order.ahead[0] =
                Interval { start: connection.ahead_start, end: connection.ahead_end, read: ahead::UNREAD };
            order.waiting = 1;
        }
        if held != 0 {
            self.http.carry_start(connection.start, held, connection.first_byte_ns);
        }
    }
}
