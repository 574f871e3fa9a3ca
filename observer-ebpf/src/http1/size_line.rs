//! The line that tells a chunk's size (RFC 9112 section 7.1).
//! Reads the window; what the size means is `body.rs`'s.

use super::{
    state::{DATA, Half, POSITIONS},
    words::{first, matches},
};
use crate::volatile::{set_volatile, volatile};

/// Hexadecimal digits of a size below 2^60.
pub(super) const SIZE_DIGITS: u32 = 15;

/// The line goes on in the next segment.
pub(super) const UNFINISHED: u32 = POSITIONS;
/// The line is none of a chunk.
const MALFORMED: u32 = POSITIONS + 1;

/// Reads hexadecimal digits from the window's beginning into [`Half::number`]; [`Half::cursor`] is behind them.
#[inline(always)]
pub(super) fn read(half: &mut Half, filled: u32) {
    set_volatile(&mut half.number, 0);
    set_volatile(&mut half.cursor, DATA);
    let mut position = DATA;
    while position <= DATA + SIZE_DIGITS {
        if position >= filled {
            break;
        }
        let byte = half.byte(position);
        let digit = if byte.is_ascii_digit() {
            byte - b'0'
        } else {
            let letter = (byte | 0x20).wrapping_sub(b'a');
            if letter > 5 {
                break;
            }
            letter + 10
        };
        let number = volatile(&half.number);
        set_volatile(&mut half.number, number << 4 | u64::from(digit));
        set_volatile(&mut half.cursor, position + 1);
        position += 1;
    }
}

/// Reads a line that the window begins with: the size, which is not 0, and where the data begins.
#[inline(always)]
pub(super) fn whole(half: &mut Half, filled: u32) -> Option<(u64, u32)> {
    read(half, filled);
    let behind = volatile(&half.cursor);
    let newline = end(half, behind, filled);
    let size = volatile(&half.number);
    let is_one = newline < POSITIONS && behind > DATA && behind - DATA <= SIZE_DIGITS && size > 0;
    is_one.then_some((size, newline + 1))
}

/// Tells where the line ends whose digits end at `behind`; [`UNFINISHED`] or more where it does not.
#[inline(always)]
pub(super) fn end(half: &mut Half, behind: u32, filled: u32) -> u32 {
    if behind >= filled {
        return UNFINISHED;
    }
    let byte = half.byte(behind);
    if byte == b'\n' {
        return behind;
    }
    if byte == b'\r' {
        return if behind + 1 >= filled {
            UNFINISHED
        } else if half.byte(behind + 1) == b'\n' {
            behind + 1
        } else {
            MALFORMED
        };
    }
    // A chunk extension, or blanks that some servers put there.
    if byte != b';' && byte != b' ' && byte != b'\t' {
        return MALFORMED;
    }
    set_volatile(&mut half.line, UNFINISHED);
    let mut base = DATA;
    while base < POSITIONS {
        if base >= volatile(&half.filled) {
            break;
        }
        let newlines = matches(half.counted_word(base), b'\n');
        if newlines != 0 {
            set_volatile(&mut half.line, base + first(newlines));
            break;
        }
        base += 8;
    }
    volatile(&half.line)
}
