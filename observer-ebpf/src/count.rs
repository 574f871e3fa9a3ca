//! Counts of what was lost, which cannot be lost themselves: a per-CPU array with a cell per kind and reason.
//! Also atomic addition, for counts that CPUs share.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use observer_ebpf::lost::{CELLS, Kind, Reason, cell};

#[btf_map]
static LOST: PerCpuArray<u64, { CELLS as usize }> = PerCpuArray::new();

/// Counts one loss.
#[inline(always)]
pub(crate) fn lost(kind: Kind, reason: Reason) {
    if let Some(count) = LOST.get_ptr_mut(cell(kind, reason)) {
        // SAFETY: a valid cell of this CPU; cgroup and tracing programs do not interrupt one another on it.
        unsafe { *count += 1 };
    }
}

/// Adds to a count that other CPUs add to at the same time.
///
/// # Safety
/// `count` points into a map's value.
#[inline(always)]
pub(crate) unsafe fn add(count: *mut u64, amount: u64) {
    // SAFETY: the caller's; the result is unused, so this is a plain atomic add, which kernels before 5.12 have too.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(count, amount) };
}
