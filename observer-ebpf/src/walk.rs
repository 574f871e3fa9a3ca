//! The walk over open exchanges, which the agent makes at each scrape.
//! A stream that stays open for hours is on its socket alone.

use core::ptr;

use aya_ebpf::{cty::c_void, helpers::bpf_seq_write};
use observer_ebpf::http::{
    exchange::{Body, Exchange, Outcome},
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
        if begun {
            write(exchange.cast(), RESPONSE_BYTES);
        } else {
            let waiting = Waiting {
                kind: 0,
                sent: 0,
                id: (*exchange).id,
                times: [0; 5],
                status: 0,
                flags: (*value).flags,
                close_code: 0,
                body: Body::Known as u8,
                outcome: Outcome::Open as u8,
            };
            write((&raw const waiting).cast(), RESPONSE_BYTES);
        }
        let exchange = exchange.cast::<u8>();
        write(exchange.add(RESPONSE_BYTES), IN_FLIGHT - RESPONSE_BYTES);
        write(ptr::from_ref(&outstanding).cast(), size_of::<u32>());
        let rest = IN_FLIGHT + size_of::<u32>();
        if begun {
            write(exchange.add(rest), size_of::<Exchange>() - rest);
        } else {
            write(exchange.add(rest), GAPS - rest);
            let none = [0_u64; (size_of::<Exchange>() - GAPS) / 8];
            write((&raw const none).cast(), size_of_val(&none));
        }
    }
    0
}

/// What of an [`Exchange`] is the response's, while there is none.
#[repr(C)]
struct Waiting {
    kind: u32,
    sent: u32,
    id: u64,
    /// From `response_ns` to `response_bytes`.
    times: [u64; 5],
    status: u16,
    flags: u16,
    close_code: u16,
    body: u8,
    outcome: u8,
}

/// Bytes of an exchange that are the response's, at its beginning.
const RESPONSE_BYTES: usize = core::mem::offset_of!(Exchange, started_ns);
const _: () = assert!(size_of::<Waiting>() == RESPONSE_BYTES);
/// Where the response's part goes on behind the request's.
const GAPS: usize = core::mem::offset_of!(Exchange, gaps);
/// Where the number of unanswered requests is in an exchange; it is the connection's and not kept there.
const IN_FLIGHT: usize = core::mem::offset_of!(Exchange, in_flight);
