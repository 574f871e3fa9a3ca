//! Volatile access to plain values.
//! For the verifier a value read so has no history, and for another CPU it is read when the code says so.

/// Reads a value that the compiler may not keep in a register across a loop: the verifier would tell its values
/// apart and take each for a path of its own.
#[inline(always)]
pub fn volatile<T: Copy>(place: &T) -> T {
    // SAFETY: a reference is valid to read.
    unsafe { core::ptr::read_volatile(place) }
}

/// Writes what [`volatile`] reads.
#[inline(always)]
pub fn set_volatile<T: Copy>(place: &mut T, value: T) {
    // SAFETY: a reference is valid to write.
    unsafe { core::ptr::write_volatile(place, value) }
}
