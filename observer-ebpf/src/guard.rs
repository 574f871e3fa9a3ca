//! One CPU at a time for what a connection receives: packets come in outside of their socket's lock.
//! Of all atomic instructions only addition without a result is there on each kernel, and it is enough.

use core::{
    intrinsics::{AtomicOrdering, atomic_xadd},
    ptr,
};

use aya_ebpf::helpers::bpf_ktime_get_ns;

/// How often [`wait`] tries. Each time takes 20 ns or more, and the framer 20 us for 64 KiB of small chunks.
const TRIES: u32 = 2048;

/// Takes what `guard` guards; false where another CPU has it, or wants it at the same time. Of two that add one and read
/// the sum afterwards, one at most reads 1: the one that added last reads 2.
///
/// # Safety
/// `guard` points into a map's value.
#[inline(always)]
pub(crate) unsafe fn enter(guard: *mut u32) -> bool {
    // SAFETY: the caller's.
    unsafe {
        add(guard, 1);
        if ptr::read_volatile(guard) == 1 {
            return true;
        }
        leave(guard);
    }
    false
}

/// Takes what `guard` guards, once whoever has it is done: an interrupt on another CPU. False if that takes too long.
///
/// # Safety
/// As for [`enter`].
#[inline(always)]
pub(crate) unsafe fn wait(guard: *mut u32) -> bool {
    let mut tries = 0;
    while tries < TRIES {
        // SAFETY: the caller's; the clock is read to pass the time.
        unsafe {
            if ptr::read_volatile(guard) == 0 && enter(guard) {
                return true;
            }
            bpf_ktime_get_ns();
        }
        tries += 1;
    }
    false
}

/// Gives back what [`enter`] or [`wait`] has taken.
///
/// # Safety
/// As for [`enter`].
#[inline(always)]
pub(crate) unsafe fn leave(guard: *mut u32) {
    // SAFETY: the caller's.
    unsafe { add(guard, u32::MAX) };
}

#[inline(always)]
unsafe fn add(guard: *mut u32, amount: u32) {
    // SAFETY: the callers'; the result is unused, as in `count::add`.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(guard, amount) };
}
