//! Atomic addition, for counts that CPUs share, and for those of one CPU that an interrupt may add to in between.
//! A packet is received in an interrupt, which may come while the same CPU sends one.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// Adds to a count.
///
/// # Safety
/// `count` points into a map's value.
#[inline(always)]
pub(crate) unsafe fn add(count: *mut u64, amount: u64) {
    // SAFETY: the caller's; the result is unused, so this is a plain atomic add, which kernels before 5.12 have too.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(count, amount) };
}
