//! The first bytes of a connection that come before its socket is made, kept until the framer can have them.
//! Rare: only where the acknowledgement that should have ended the handshake was lost, or came late.

use core::ptr;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE},
    btf_maps::{PerCpuArray, SkStorage},
    cty::c_void,
    helpers::{bpf_ktime_get_ns, bpf_skb_load_bytes, generated::bpf_sk_storage_get},
    macros::btf_map,
};
use observer_ebpf::http::{
    Calls,
    state::{LOAD, REQUEST},
};

use crate::framer::Packet;

/// The first bytes of a connection that came with the acknowledgement of its handshake, for lack of the one before it:
/// the kernel shows them to the programs of the listener's cgroup, when the connection's socket does not exist yet.
#[repr(C)]
pub(crate) struct Early {
    /// The sequence number of the first byte.
    sequence: u32,
    /// How many bytes are here, 0 if none.
    pub(crate) length: u32,
    /// When they came.
    now_ns: u64,
    /// The bytes, and room to read a window beyond them.
    bytes: [u8; EARLY_BYTES + LOAD as usize],
}

/// Room for a segment on an Ethernet: a power of two.
const EARLY_BYTES: usize = 2048;

/// What the listeners of this CPU saw last; the socket is made within the same interrupt.
#[btf_map]
static LAST_EARLY: PerCpuArray<Early, 1> = PerCpuArray::new();

/// What came early, on the socket that it is for.
#[btf_map]
static EARLY: SkStorage<Early> = SkStorage::new();

/// Notes payload that came to a listener.
#[inline(always)]
pub(crate) fn came_early(skb: *mut __sk_buff, sequence: u32, payload: u32, length: u32) {
    let Some(early) = LAST_EARLY.get_ptr_mut(0) else { return };
    let length = if length > EARLY_BYTES as u32 { EARLY_BYTES as u32 } else { length };
    let length = (length.wrapping_sub(1) & (EARLY_BYTES as u32 - 1)) + 1;
    // SAFETY: a valid cell of this CPU, which only this interrupt uses; it has room for the most that is loaded.
    unsafe {
        (*early).sequence = sequence;
        (*early).now_ns = bpf_ktime_get_ns();
        let bytes = (&raw mut (*early).bytes).cast();
        let loaded = bpf_skb_load_bytes(skb.cast(), payload, bytes, length) == 0;
        (*early).length = if loaded { length } else { 0 };
    }
}

/// Gives a new connection what came early for it.
///
/// # Safety
/// `socket` is a socket pointer of the program's context, not null.
#[inline(always)]
pub(crate) unsafe fn accepted(socket: *mut c_void, next: u32) {
    let Some(early) = LAST_EARLY.get_ptr_mut(0) else { return };
    // SAFETY: a valid cell of this CPU; the helper copies it.
    unsafe {
        if (*early).length == 0 {
            return;
        }
        if (*early).sequence == next {
            let map = ptr::from_ref(&EARLY).cast_mut().cast();
            bpf_sk_storage_get(map, socket, early.cast(), BPF_SK_STORAGE_GET_F_CREATE.into());
        }
        (*early).length = 0;
    }
}

/// What came early for the connection of a packet.
#[inline(always)]
pub(crate) fn early(skb: *mut __sk_buff) -> Option<&'static Early> {
    // SAFETY: a field of the program's context.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return None;
    }
    let map = ptr::from_ref(&EARLY).cast_mut().cast();
    // SAFETY: the context's socket, not null; without the flag to create, the helper only looks up. The storage lives as
    // long as its socket, which the running program holds.
    unsafe { bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), 0).cast::<Early>().as_ref() }
}

/// Loads what came early into the window of the request half.
#[inline(always)]
pub(crate) fn load_early(packet: &Packet, offset: u32, position: u32) -> u32 {
    let Some(early) = early(packet.skb) else { return 0 };
    let half = &mut packet.http().halves[REQUEST as usize];
    let mut copied = 0;
    while copied < LOAD {
        let from = (offset.wrapping_add(copied) & (EARLY_BYTES as u32 - 1)) as usize;
        // SAFETY: behind the bytes there is room for a window.
        let word = unsafe { early.bytes.as_ptr().add(from).cast::<u64>().read_unaligned() };
        half.set_word(position.wrapping_add(copied), word);
        copied += 8;
    }
    1
}

/// Frames what came early, before anything else of the connection.
#[inline(always)]
pub(crate) fn take_early(packet: &Packet) {
    let length = u32::from(packet.http().early);
    if let Some(early) = early(packet.skb) {
        packet.http().halves[REQUEST as usize].now_ns = early.now_ns;
        packet.steps(REQUEST, 0, length);
        packet.http().halves[REQUEST as usize].next = early.sequence.wrapping_add(length);
    }
    packet.http().early = 0;
}
