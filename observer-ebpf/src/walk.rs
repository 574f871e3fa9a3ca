//! The walk over open exchanges, which the agent makes at each scrape.
//! A stream that stays open for hours is on its socket alone.

use core::ptr;

use aya_ebpf::{cty::c_void, helpers::bpf_seq_write};
use observer_ebpf::http::{
    events::GAP_BUCKETS,
    exchange::{Body, Exchange, Outcome},
    shortcut::CLOSED,
    state::Http,
};

use crate::{places, sockets::WalkMeta};

/// Context of an iterator over the map `HTTP`, as that of `sockets.rs` is of one over connections.
#[repr(C)]
struct WalkContext {
    meta: *const WalkMeta,
    map: *const c_void,
    socket: *mut c_void,
    value: *const Http,
}

/// Reports every exchange that is under way to whoever reads the iterator: a stream that stays open for hours is on
/// its socket alone.
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
#[unsafe(no_mangle)]
extern "C" fn exchange_walk(ctx: *const WalkContext) -> i32 {
    // SAFETY: the kernel calls with a valid context; the verifier knows the types of its members.
    unsafe {
        let (socket, value) = ((*ctx).socket, (*ctx).value);
        if socket.is_null() || value.is_null() {
            return 0;
        }
        places::walked();
        let outstanding = (*value).requests.wrapping_sub((*value).responses);
        if outstanding == 0 {
            return 0;
        }
        let exchange = &raw const (*value).exchange;
        // Of a response that has not begun, the exchange still holds the one before.
        let begun = (*value).begun == (*value).responses.wrapping_add(1);
        let is_open = if begun {
            (*exchange).outcome == Outcome::Open as u8
        } else {
            (*exchange).index == (*value).responses
        };
        if !is_open {
            return 0;
        }
        // A full buffer makes the kernel call again for the same socket.
        let write = |from: *const u8, length: usize| {
            bpf_seq_write((*(*ctx).meta).seq, from.cast_mut().cast(), length as u32);
        };
        let response = if begun {
            ResponsePart::of(value)
        } else {
            ResponsePart::none((*exchange).id, u16::from((*value).flags))
        };
        write((&raw const response).cast(), RESPONSE_BYTES);
        let bytes = exchange.cast::<u8>();
        write(bytes.add(RESPONSE_BYTES), IN_FLIGHT - RESPONSE_BYTES);
        write(ptr::from_ref(&outstanding).cast(), size_of::<u32>());
        let rest = IN_FLIGHT + size_of::<u32>();
        write(bytes.add(rest), GAPS - rest);
        let gaps = if begun { GapPart::of(value) } else { GapPart::NONE };
        write((&raw const gaps).cast(), size_of_val(&gaps));
    }
    0
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
