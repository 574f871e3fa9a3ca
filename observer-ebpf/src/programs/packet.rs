//! A packet as the context of the framer: its bytes, and what is kept of its connection.
//! Found anew in each function that the verifier sees; a pointer would not pass between them before Linux 5.13.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_load_bytes};
use observer_ebpf::{
    flow::Followed,
    http1::state::{Half, Http},
    order::Order,
};

use crate::{output, storage};

/// In a place: the packet came to a listener, and what is kept is that of the CPU.
pub(crate) const EARLY: u32 = 1 << 31;

/// A packet, where its payload begins, and what is followed of its connection.
pub(crate) struct Packet {
    pub(crate) skb: *mut __sk_buff,
    pub(crate) followed: *mut Followed,
    /// Where the payload begins in the packet, with [`EARLY`].
    pub(crate) place: u32,
}

impl Packet {
    /// Finds what is followed of the packet's connection.
    #[inline(always)]
    pub(crate) fn find(skb: *mut __sk_buff, place: u32) -> Option<Self> {
        if place & EARLY != 0 {
            let early = storage::early()?;
            // SAFETY: a valid cell of this CPU, which only this interrupt uses.
            return Some(Self { skb, followed: unsafe { &raw mut (*early).followed }, place });
        }
        // SAFETY: a field of the program's context.
        let socket = unsafe { (*skb).__bindgen_anon_2.sk };
        if socket.is_null() {
            return None;
        }
        // SAFETY: the context's socket, not null.
        let followed = unsafe { storage::followed(socket.cast())? };
        Some(Self { skb, followed, place })
    }

    /// The framer's state.
    #[inline(always)]
    pub(crate) fn state(&self) -> &mut Http {
        // SAFETY: the storage lives as long as its socket, which the running program holds, or is the CPU's.
        unsafe { &mut (*self.followed).http }
    }

    /// Where the side stands.
    #[inline(always)]
    pub(crate) fn order_of(&self, side: u32) -> &mut Order {
        // SAFETY: as in `state`.
        unsafe { &mut (*self.followed).orders[(side & 1) as usize] }
    }

    /// Loads bytes of the payload; see [`observer_ebpf::http1::Context::load`].
    #[inline(always)]
    pub(crate) fn load_bytes(&self, offset: u32, half: &mut Half, position: u32, length: u32) -> bool {
        let from = (self.place & !EARLY).wrapping_add(offset);
        // SAFETY: the window has room for the most that is loaded behind the most that is carried.
        unsafe {
            let to = half.window.as_mut_ptr().add(position as usize);
            bpf_skb_load_bytes(self.skb.cast(), from, to.cast(), length) == 0
        }
    }

    /// Sends what the half has ready, if anything.
    #[inline(always)]
    pub(crate) fn send_if_ready(&self, side: u32) {
        if self.state().halves[(side & 1) as usize].send != 0 {
            // SAFETY: as in `state`.
            unsafe { output::send(&raw mut (*self.followed).http, side) };
        }
    }
}
