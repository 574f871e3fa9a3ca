//! One CPU at a time for what a connection receives: packets come in outside of their socket's lock.
//! A mark and no lock: an atomic instruction waits for all that the CPU has written before, about 100 ns with each exchange.

use core::ptr;

use aya_ebpf::helpers::bpf_ktime_get_ns;

/// How often [`wait`] looks. Each time takes 20 ns or more, and the framer 20 us for 64 KiB of small chunks.
const TRIES: u32 = 2048;

/// Takes what `guard` guards; false where another CPU has it. Two that come within the time in which a write gets from one
/// CPU to another both take it, which `alone::check` finds out in the end.
///
/// # Safety
/// `guard` points into a map's value.
#[inline(always)]
pub(crate) unsafe fn enter(guard: *mut u8) -> bool {
    // SAFETY: the caller's.
    unsafe {
        if ptr::read_volatile(guard) != 0 {
            return false;
        }
        ptr::write_volatile(guard, 1);
    }
    true
}

/// Takes what `guard` guards, once whoever has it is done: an interrupt on another CPU. False if that takes too long.
///
/// # Safety
/// As for [`enter`].
#[inline(always)]
pub(crate) unsafe fn wait(guard: *mut u8) -> bool {
    let mut tries = 0;
    while tries < TRIES {
        // SAFETY: the caller's; the clock is read to pass the time.
        unsafe {
            if enter(guard) {
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
pub(crate) unsafe fn leave(guard: *mut u8) {
    // SAFETY: the caller's.
    unsafe { ptr::write_volatile(guard, 0) };
}
