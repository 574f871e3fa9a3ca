//! The walks over open connections and over exchanges that are under way, which the agent makes at each scrape.
//! What stays open for hours is on its socket alone. Each walk has a number, and reports nothing twice, however its passes are
//! cut; the agent makes another pass until one was not cut.

use core::ptr;

use aya_ebpf::{bindings::seq_file, cty::c_void, helpers::bpf_seq_write};
use observer_ebpf::{
    flow::{
        Connection, Followed,
        connection::{OPEN, PREEXISTING},
    },
    http1::{shortcut::CLOSED, state::Http},
    records::{
        exchange::{Body, Exchange, Outcome},
        histogram::GAP_BUCKETS,
        open_connection::{self, OpenConnection},
        room::{CONNECTION_WALK, EXCHANGE_WALK},
    },
};

use super::sockets::end_of;
use crate::flow::places;

/// Context of an iterator over a socket storage map (`struct bpf_iter__bpf_sk_storage_map`,
/// `net/core/bpf_sk_storage.c`).
#[repr(C)]
struct WalkContext<T> {
    meta: *const WalkMeta,
    map: *const c_void,
    socket: *mut c_void,
    value: *mut T,
}

/// `struct bpf_iter_meta`, include/linux/bpf.h.
#[repr(C)]
struct WalkMeta {
    seq: *mut seq_file,
}

/// Writes to whoever reads the iterator; false if its buffer is full: then the kernel calls again for the same socket.
///
/// # Safety
/// `meta` is the context's, and `from` points to `length` readable bytes.
#[inline(always)]
unsafe fn write(meta: *const WalkMeta, from: *const c_void, length: usize) -> bool {
    // SAFETY: the caller's.
    unsafe { bpf_seq_write((*meta).seq, from.cast_mut(), length as u32) == 0 }
}

/// Reports every open connection of every target: bytes of a connection that stays open for hours are on its socket alone.
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
#[unsafe(no_mangle)]
extern "C" fn socket_walk(ctx: *const WalkContext<Connection>) -> i32 {
    let walk = places::walk(CONNECTION_WALK);
    // SAFETY: the kernel calls with a valid context; the verifier knows the types of its members.
    unsafe {
        let (socket, value) = ((*ctx).socket, (*ctx).value);
        if socket.is_null() || value.is_null() || (*value).stage != OPEN || (*value).walk == walk {
            return 0;
        }
        let preexisting = (*value).flags & PREEXISTING != 0;
        let mut open = OpenConnection {
            peer: (*value).peer,
            since_ns: (*value).since_ns,
            first_byte_ns: (*value).first_byte_ns,
            sent: 0,
            received: 0,
            retransmitted: 0,
            flags: if preexisting { open_connection::PREEXISTING } else { 0 },
        };
        if (*value).based != 0 {
            let end = end_of(socket);
            (open.sent, open.received) = end.bytes(&*value);
            open.retransmitted = end.retransmitted(&*value);
        }
        if write((*ctx).meta, ptr::from_ref(&open).cast(), size_of::<OpenConnection>()) {
            (*value).walk = walk;
        }
    }
    0
}

/// Reports every exchange that is under way.
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
#[unsafe(no_mangle)]
extern "C" fn exchange_walk(ctx: *const WalkContext<Followed>) -> i32 {
    let walk = places::walk(EXCHANGE_WALK);
    // SAFETY: the kernel calls with a valid context; the verifier knows the types of its members.
    unsafe {
        let (socket, followed) = ((*ctx).socket, (*ctx).value);
        if socket.is_null() || followed.is_null() || (*followed).walk == walk {
            return 0;
        }
        if report((*ctx).meta, &raw const (*followed).http) {
            (*followed).walk = walk;
            places::walked();
        }
    }
    0
}

/// Writes the exchange that is under way on a connection, if there is one; false if the buffer is full.
///
/// # Safety
/// `meta` is the context's, and `http` a storage value that the walk has come to.
#[inline(always)]
unsafe fn report(meta: *const WalkMeta, http: *const Http) -> bool {
    // SAFETY: the caller's.
    unsafe {
        let outstanding = (*http).requests.wrapping_sub((*http).responses);
        if outstanding == 0 || (*http).over != 0 {
            return true;
        }
        let exchange = &raw const (*http).exchange;
        // Of a response that has not begun, the exchange still holds the one before.
        let begun = (*http).begun == (*http).responses.wrapping_add(1);
        let is_open = if begun {
            (*exchange).outcome == Outcome::Open as u8
        } else {
            (*exchange).index == (*http).responses
        };
        if !is_open {
            return true;
        }
        let response = if begun {
            ResponsePart::of(http)
        } else {
            ResponsePart::none((*exchange).id, u16::from((*http).flags))
        };
        let gaps = if begun { GapPart::of(http) } else { GapPart::NONE };
        let bytes = exchange.cast::<u8>();
        let rest = IN_FLIGHT + size_of::<u32>();
        // Once it is full, what is written behind does not fit either.
        write(meta, (&raw const response).cast(), RESPONSE_BYTES);
        write(meta, bytes.add(RESPONSE_BYTES).cast(), IN_FLIGHT - RESPONSE_BYTES);
        write(meta, ptr::from_ref(&outstanding).cast(), size_of::<u32>());
        write(meta, bytes.add(rest).cast(), GAPS - rest);
        write(meta, (&raw const gaps).cast(), size_of_val(&gaps))
    }
}

/// What of an [`Exchange`] is the response's, at its beginning.
#[repr(C)]
struct ResponsePart {
    kind: u32,
    sent: u32,
    id: u64,
    response_ns: u64,
    event_ns: u64,
    last_event_ns: u64,
    ended_ns: u64,
    response_bytes: u64,
    status: u16,
    flags: u16,
    close_code: u16,
    body: u8,
    outcome: u8,
}

impl ResponsePart {
    /// While there is no response.
    #[inline(always)]
    fn none(id: u64, flags: u16) -> Self {
        Self {
            kind: 0,
            sent: 0,
            id,
            response_ns: 0,
            event_ns: 0,
            last_event_ns: 0,
            ended_ns: 0,
            response_bytes: 0,
            status: 0,
            flags,
            close_code: 0,
            body: Body::Known as u8,
            outcome: Outcome::Open as u8,
        }
    }

    /// What the framer knows, and behind that what passed by the shortcut. In this order: a packet may pass meanwhile and
    /// settle it, and what is counted twice would be taken for true (`shortcut::settle`).
    ///
    /// # Safety
    /// `http` is a storage value that the walk has come to.
    #[inline(always)]
    unsafe fn of(http: *const Http) -> Self {
        // SAFETY: the caller's; volatile, so that the order of reads is this one.
        unsafe {
            let exchange = &raw const (*http).exchange;
            let shortcut = &raw const (*http).shortcut;
            let mut part = Self {
                kind: (*exchange).kind,
                sent: (&raw const (*exchange).sent).read_volatile(),
                id: (*exchange).id,
                response_ns: (*exchange).response_ns,
                event_ns: (*exchange).event_ns,
                last_event_ns: (&raw const (*exchange).last_event_ns).read_volatile(),
                ended_ns: (*exchange).ended_ns,
                response_bytes: (&raw const (*exchange).response_bytes).read_volatile(),
                status: (*exchange).status,
                flags: (*exchange).flags,
                close_code: (*exchange).close_code,
                body: (*exchange).body,
                outcome: (*exchange).outcome,
            };
            if (&raw const (*shortcut).open).read_volatile() != CLOSED {
                part.last_event_ns = (*shortcut).last_event_ns;
                part.response_bytes += u64::from((&raw const (*shortcut).bytes).read_volatile());
                let mut index = 0;
                while index < GAP_BUCKETS {
                    part.sent += u32::from((&raw const (*shortcut).gaps[index]).read_volatile());
                    index += 1;
                }
            }
            part
        }
    }
}

/// What of an [`Exchange`] is the response's, at its end.
#[repr(C)]
struct GapPart {
    gaps: [u32; GAP_BUCKETS],
    stalls: u32,
    gap_sum_ns: u64,
}

impl GapPart {
    const NONE: Self = Self { gaps: [0; GAP_BUCKETS], stalls: 0, gap_sum_ns: 0 };

    /// As [`ResponsePart::of`].
    ///
    /// # Safety
    /// As for that.
    #[inline(always)]
    unsafe fn of(http: *const Http) -> Self {
        let mut part = Self::NONE;
        // SAFETY: the caller's.
        unsafe {
            let exchange = &raw const (*http).exchange;
            let shortcut = &raw const (*http).shortcut;
            part.stalls = (*exchange).stalls;
            part.gap_sum_ns = (&raw const (*exchange).gap_sum_ns).read_volatile()
                + (&raw const (*shortcut).gap_sum_ns).read_volatile();
            let mut index = 0;
            while index < GAP_BUCKETS {
                part.gaps[index] = (&raw const (*exchange).gaps[index]).read_volatile()
                    + u32::from((&raw const (*shortcut).gaps[index]).read_volatile());
                index += 1;
            }
        }
        part
    }
}

/// Bytes of an exchange that are the response's, at its beginning.
const RESPONSE_BYTES: usize = core::mem::offset_of!(Exchange, started_ns);
const _: () = assert!(size_of::<ResponsePart>() == RESPONSE_BYTES);
/// Where the response's part goes on behind the request's.
const GAPS: usize = core::mem::offset_of!(Exchange, gaps);
const _: () = assert!(GAPS + size_of::<GapPart>() == size_of::<Exchange>());
/// Where the number of unanswered requests is in an exchange; it is the connection's and not kept there.
const IN_FLIGHT: usize = core::mem::offset_of!(Exchange, in_flight);
