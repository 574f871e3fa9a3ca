//! Room for the framer's state of connections, which the kernel charges to the agent's memory.
//! The agent says how many may have one; each takes a place when it is made and gives it back when its connection ends.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use observer_ebpf::room::{CELLS, LEFT, WALKED};

use crate::count::add;

/// By [`LEFT`] and [`WALKED`].
#[btf_map]
static ROOM: Array<u64, { CELLS as usize }> = Array::new();

/// Takes a place; false where there is none left.
#[inline(always)]
pub(crate) fn take() -> bool {
    let Some(left) = ROOM.get_ptr_mut(LEFT) else { return false };
    // SAFETY: a value of the map. Two CPUs that read the last place at once both take it: the count goes below zero then.
    unsafe {
        if left.read_volatile().cast_signed() <= 0 {
            return false;
        }
        add(left, u64::MAX);
    }
    true
}

/// Gives a place back.
#[inline(always)]
pub(crate) fn give() {
    if let Some(left) = ROOM.get_ptr_mut(LEFT) {
        // SAFETY: a value of the map.
        unsafe { add(left, 1) };
    }
}

/// Counts one state in the agent's walk over all of them.
#[inline(always)]
pub(crate) fn walked() {
    if let Some(walked) = ROOM.get_ptr_mut(WALKED) {
        // SAFETY: a value of the map.
        unsafe { add(walked, 1) };
    }
}
