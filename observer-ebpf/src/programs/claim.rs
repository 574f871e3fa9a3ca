//! Claims of a half: one CPU at a time for what a connection receives, as packets come in outside of their socket's lock.
//! A mark and no lock: an atomic instruction waits for all that the CPU has written before, about 100 ns with each exchange.

use core::ptr;

use aya_ebpf::helpers::bpf_ktime_get_ns;

/// How often [`wait`] looks, and how often it reads the clock in between to pass the time: each time takes 20 ns or more, so 0.1 ms
/// in all. The verifier keeps a state for each look: with 4,096 of them loading took 26 MiB more.
const LOOKS: u32 = 512;
const CLOCKS: u32 = 16;

/// Claims what `mark` marks; false where another CPU has it. Two that come within the time in which a write gets from one
/// CPU to another both claim it, which `flow::claim::check` finds out in the end.
///
/// # Safety
/// `mark` points into a map's value.
#[inline(always)]
pub(crate) unsafe fn enter(mark: *mut u8) -> bool {
    // SAFETY: the caller's.
    unsafe {
        if ptr::read_volatile(mark) != 0 {
            return false;
        }
        ptr::write_volatile(mark, 1);
    }
    true
}

/// Claims what `mark` marks, once whoever has it is done: an interrupt on another CPU. False if that takes too long.
///
/// # Safety
/// As for [`enter`].
#[inline(always)]
pub(crate) unsafe fn wait(mark: *mut u8) -> bool {
    let mut looks = 0;
    while looks < LOOKS {
        // SAFETY: the caller's; the clock is read to pass the time.
        unsafe {
            if enter(mark) {
                return true;
            }
            let mut clocks = 0;
            while clocks < CLOCKS {
                bpf_ktime_get_ns();
                clocks += 1;
            }
        }
        looks += 1;
    }
    false
}

/// Gives back what [`enter`] or [`wait`] has taken.
///
/// # Safety
/// As for [`enter`].
#[inline(always)]
pub(crate) unsafe fn leave(mark: *mut u8) {
    // SAFETY: the caller's.
    unsafe { ptr::write_volatile(mark, 0) };
}
