//! Room for the framer's state of connections, which the kernel charges to the agent's memory.
//! The agent says how many may have one; each takes a place when it is made and gives it back when its connection ends.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use observer_ebpf::records::room::{CELLS, LEFT, WALKED};

use crate::count::add;

/// By [`LEFT`] and the others.
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

/// The number of the walk that the agent makes now, by its cell; 0 before the first.
#[inline(always)]
pub(crate) fn walk(cell: u32) -> u32 {
    // SAFETY: a value of the map.
    ROOM.get_ptr_mut(cell).map_or(0, |walk| unsafe { walk.read_volatile() } as u32)
}
