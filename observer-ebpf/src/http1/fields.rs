//! Header fields that framing needs, read from lines that begin like one of them.
//! What two readers could take for different lengths marks the head as bad (RFC 9112 section 11.2).

use super::{
    Context,
    names::{self, FIELDS, Field},
    state::{
        BAD, CHUNKED, CODED, DATA, ENCODED, EVENTS, EXPECTED, FRAMING_LINE, Half, LENGTH, LINES_OF_JSON,
        POSITIONS, WEBSOCKET,
    },
    words::{LOWER, TOPS, decimal, first, last, leading_digits, matches, power_of_ten},
};
use crate::volatile::{set_volatile, volatile};

/// Reads a line that may be of one of [`FIELDS`], from `start` to the newline at `end`; `folded` if the next line continues
/// it.
#[inline(always)]
pub(super) fn read<C: Context>(context: &C, side: u32, start: u32, end: u32, folded: bool) {
    let half = &mut context.http().halves[(side & 1) as usize];
    let words = half.words(start);
    set_volatile(&mut half.found, 0);
    for (index, (_, name)) in FIELDS.iter().enumerate() {
        if name.may_begin(words[0] | LOWER) && name.begins(words) {
            set_volatile(&mut half.value, start.wrapping_add(name.length));
            set_volatile(&mut half.found, index as u32 + 1);
            break;
        }
    }
    let found = volatile(&half.found);
    if found == 0 {
        return;
    }
    let frames = found == Field::ContentLength as u32 + 1 || found == Field::TransferEncoding as u32 + 1;
    let after = half.byte(volatile(&half.value));
    if after != b':' {
        // A space before the colon is read as part of the name by some and ignored by others.
        if frames && is_blank(after) {
            half.head |= BAD;
        }
        return;
    }
    if frames {
        if folded {
            half.head |= BAD;
        }
        if end + 1 >= volatile(&half.filled) {
            half.flags |= FRAMING_LINE;
        }
    }
    let value = volatile(&half.value).wrapping_add(1);
    set_volatile(&mut half.value, value);
    let end = if half.byte(end.wrapping_sub(1)) == b'\r' { end.wrapping_sub(1) } else { end };
    set_volatile(&mut half.number, end.into());
    if skip_blanks(half) {
        context.blanks(side);
    }
    let half = &mut context.http().halves[(side & 1) as usize];
    let (value, end) = (volatile(&half.value), volatile(&half.number) as u32);
    let end = if end < value { value } else { end };
    let found = volatile(&half.found);
    if found == Field::ContentLength as u32 + 1 {
        content_length(half, value, end);
    } else if found == Field::TransferEncoding as u32 + 1 {
        transfer_encoding(half, value, end);
    } else {
        tells(half, found, value);
    }
}

/// Reads a value that tells what a body or a connection is.
#[inline(always)]
fn tells(half: &mut Half, found: u32, value: u32) {
    let words = half.words(value);
    let head = if found == Field::ContentType as u32 + 1 {
        if names::EVENT_STREAM.begins(words) {
            EVENTS
        } else if names::NDJSON.iter().any(|name| name.begins(words)) {
            LINES_OF_JSON
        } else {
            0
        }
    } else if found == Field::ContentEncoding as u32 + 1 {
        if names::IDENTITY.begins(words) { 0 } else { ENCODED }
    } else if found == Field::Upgrade as u32 + 1 {
        if names::WEBSOCKET.begins(words) { WEBSOCKET } else { 0 }
    } else if names::CONTINUE.begins(words) {
        EXPECTED
    } else {
        0
    };
    half.head |= head;
}

/// Moves [`Half::value`] behind the blanks that it is at, and the end in [`Half::number`] before those in front of it; true if
/// there are more than a word of them.
#[inline(always)]
fn skip_blanks(half: &mut Half) -> bool {
    let (value, end) = (volatile(&half.value), volatile(&half.number) as u32);
    let others = no_blanks(half.word(value));
    if others == 0 {
        return true;
    }
    set_volatile(&mut half.value, value.wrapping_add(first(others)));
    let others = no_blanks(half.word(end.wrapping_sub(8)));
    if others == 0 {
        return true;
    }
    set_volatile(&mut half.number, end.wrapping_sub(7 - last(others)).into());
    false
}

/// The top bit of each byte that is no blank.
#[inline(always)]
const fn no_blanks(word: u64) -> u64 {
    !(matches(word, b' ') | matches(word, b'\t')) & TOPS
}

/// As [`skip_blanks`], for any number of them (OWS, RFC 9110 section 5.6.3).
#[inline(always)]
pub fn blanks(half: &mut Half) {
    let mut skipped = 0;
    while skipped < POSITIONS {
        let value = volatile(&half.value);
        let others = no_blanks(half.word(value));
        if others != 0 {
            set_volatile(&mut half.value, value.wrapping_add(first(others)));
            break;
        }
        set_volatile(&mut half.value, value.wrapping_add(8));
        skipped += 8;
    }
    let mut skipped = 0;
    while skipped < POSITIONS {
        let end = volatile(&half.number) as u32;
        if end <= volatile(&half.value) || end < DATA {
            break;
        }
        let others = no_blanks(half.word(end.wrapping_sub(8)));
        if others != 0 {
            set_volatile(&mut half.number, end.wrapping_sub(7 - last(others)).into());
            break;
        }
        set_volatile(&mut half.number, end.wrapping_sub(8).into());
        skipped += 8;
    }
}

#[inline(always)]
fn content_length(half: &mut Half, value: u32, end: u32) {
    let [first, second, _] = half.words(value);
    let digits = leading_digits(first);
    set_volatile(&mut half.number, decimal(first, digits));
    set_volatile(&mut half.value, value.wrapping_add(digits));
    if digits == 8 {
        let more = leading_digits(second);
        let upper = volatile(&half.number).wrapping_mul(power_of_ten(more));
        set_volatile(&mut half.number, upper.wrapping_add(decimal(second, more)));
        set_volatile(&mut half.value, value.wrapping_add(8 + more));
    }
    let behind = volatile(&half.value);
    // Two lengths, none, a list of them, or more behind it; or more than 16 digits, which no body has.
    if half.head & LENGTH != 0 || behind == value || behind != end {
        half.head |= BAD;
    }
    half.head |= LENGTH;
    half.length = volatile(&half.number);
}

#[inline(always)]
fn transfer_encoding(half: &mut Half, value: u32, end: u32) {
    let alone = end.wrapping_sub(value) == names::CHUNKED.length;
    let before = half.byte(end.wrapping_sub(names::CHUNKED.length + 1));
    let is_last = names::CHUNKED.begins(half.words(end.wrapping_sub(names::CHUNKED.length)))
        && (alone || is_blank(before) || before == b',');
    let is_first = names::CHUNKED.begins(half.words(value));
    let hides_last = half.byte(end.wrapping_sub(1)) == b',';
    if half.head & (CHUNKED | CODED) != 0 || (is_first && !alone) || hides_last {
        half.head |= BAD;
    }
    half.head |= if is_last { CHUNKED } else { CODED };
}

/// Tells whether `byte` is a space or a tab (OWS, RFC 9110 section 5.6.3).
#[inline(always)]
pub(super) const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}
