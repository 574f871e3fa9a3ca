//! The walk over open exchanges, which the agent makes at each scrape.
//! A stream that stays open for hours is on its socket alone.

use core::ptr;

use aya_ebpf::{cty::c_void, helpers::bpf_seq_write};
use observer_ebpf::http::{
    exchange::{Exchange, Outcome},
    state::Http,
};

use crate::sockets::WalkMeta;

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
        let outstanding = (*value).requests.wrapping_sub((*value).responses);
        if outstanding == 0 || (*value).exchange.outcome != Outcome::Open as u8 {
            return 0;
        }
        // A full buffer makes the kernel call again for the same socket.
        let exchange = (&raw const (*value).exchange).cast::<u8>();
        let write = |from: *const u8, length: usize| {
            bpf_seq_write((*(*ctx).meta).seq, from.cast_mut().cast(), length as u32);
        };
        write(exchange, IN_FLIGHT);
        write(ptr::from_ref(&outstanding).cast(), size_of::<u32>());
        write(
            exchange.add(IN_FLIGHT + size_of::<u32>()),
            size_of::<Exchange>() - IN_FLIGHT - size_of::<u32>(),
        );
    }
    0
}

/// Where the number of unanswered requests is in an exchange; it is the connection's and not kept there.
const IN_FLIGHT: usize = core::mem::offset_of!(Exchange, in_flight);
