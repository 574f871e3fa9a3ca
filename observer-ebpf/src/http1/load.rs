//! Loads the bytes at hand into a half's window, behind what was carried from the segment before.

use super::{
    Context,
    state::{DATA, Half, LOAD},
};
use crate::volatile::set_volatile;

/// Loads at most `most` bytes from `offset` on behind what was carried; how far the window is filled.
#[inline(always)]
pub(super) fn fill<C: Context>(
    half: &mut Half,
    context: &C,
    offset: u32,
    end: u32,
    most: u32,
) -> Option<u32> {
    let length = end.wrapping_sub(offset);
    let length = if length > most { most } else { length };
    // The verifier sees 1..=LOAD by the mask, whatever it knows of `offset`.
    let length = (length.wrapping_sub(1) & (LOAD - 1)) + 1;
    let position = DATA + (half.carried & 0xff);
    if !context.load(offset, half, position, length) {
        return None;
    }
    let filled = position + length;
    half.set_word(filled, 0);
    set_volatile(&mut half.filled, filled);
    Some(filled)
}
