//! Header fields that framing needs, read from lines that begin like one of them.
//! What two readers could take for different lengths marks the head as bad (RFC 9112 section 11.2).

use super::{
    head::is_blank,
    names::{self, FIELDS, Field},
    state::{
        BAD, CHUNKED, CODED, ENCODED, EVENTS, FRAMING_LINE, Half, LENGTH, LINES_OF_JSON, WEBSOCKET, keep,
        kept,
    },
    words::{LOWER, TOPS, decimal, first, leading_digits, matches, power_of_ten},
};

/// Reads a line that may be of one of [`FIELDS`], from `start` to the newline at `end`; `folded` if the next line continues
/// it.
#[inline(always)]
pub fn read(half: &mut Half, start: u32, end: u32, folded: bool) {
    let words = half.words(start);
    let mut found = None;
    for (field, name) in &FIELDS {
        if name.may_begin(words[0] | LOWER) && name.begins(words) {
            keep(&mut half.value, start.wrapping_add(name.length));
            found = Some(*field);
            break;
        }
    }
    let Some(found) = found else { return };
    let frames = matches!(found, Field::ContentLength | Field::TransferEncoding);
    let after = half.byte(kept(&half.value));
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
        if end + 1 >= kept(&half.filled) {
            half.flags |= FRAMING_LINE;
        }
    }
    skip_blanks(half);
    let value = kept(&half.value);
    match found {
        Field::ContentLength => content_length(half, value, end),
        Field::TransferEncoding => transfer_encoding(half, value, end),
        Field::ContentType => {
            let words = half.words(value);
            if names::EVENT_STREAM.begins(words) {
                half.head |= EVENTS;
            } else if names::NDJSON.iter().any(|name| name.begins(words)) {
                half.head |= LINES_OF_JSON;
            }
        }
        Field::ContentEncoding => {
            if !names::IDENTITY.begins(half.words(value)) {
                half.head |= ENCODED;
            }
        }
        Field::Upgrade => {
            if names::WEBSOCKET.begins(half.words(value)) {
                half.head |= WEBSOCKET;
            }
        }
    }
}

/// Moves [`Half::value`] from the colon to the value behind it, over at most eight blanks.
#[inline(always)]
fn skip_blanks(half: &mut Half) {
    let value = kept(&half.value).wrapping_add(1);
    let word = half.word(value);
    let others = !(matches(word, b' ') | matches(word, b'\t')) & TOPS;
    let blanks = if others == 0 { 8 } else { first(others) };
    keep(&mut half.value, value.wrapping_add(blanks));
}

#[inline(always)]
fn content_length(half: &mut Half, value: u32, end: u32) {
    let [first, second, _] = half.words(value);
    let digits = leading_digits(first);
    keep(&mut half.number, decimal(first, digits));
    keep(&mut half.value, value.wrapping_add(digits));
    if digits == 8 {
        let more = leading_digits(second);
        let upper = kept(&half.number).wrapping_mul(power_of_ten(more));
        keep(&mut half.number, upper.wrapping_add(decimal(second, more)));
        keep(&mut half.value, value.wrapping_add(8 + more));
    }
    let behind = kept(&half.value);
    // Two lengths, none, a list of them, or more behind it; or more than 16 digits, which no body has.
    if half.head & LENGTH != 0 || behind == value || !ends_value(half, behind, end) {
        half.head |= BAD;
    }
    half.head |= LENGTH;
    half.length = kept(&half.number);
}

/// Whether nothing but one blank and the line break is between `position` and the newline at `end`.
#[inline(always)]
fn ends_value(half: &Half, position: u32, end: u32) -> bool {
    let position = if is_blank(half.byte(position)) { position.wrapping_add(1) } else { position };
    position == end || (position.wrapping_add(1) == end && half.byte(position) == b'\r')
}

#[inline(always)]
fn transfer_encoding(half: &mut Half, value: u32, end: u32) {
    let end = if half.byte(end.wrapping_sub(1)) == b'\r' { end.wrapping_sub(1) } else { end };
    let end = if is_blank(half.byte(end.wrapping_sub(1))) { end.wrapping_sub(1) } else { end };
    let alone = end.wrapping_sub(value) == names::CHUNKED.length;
    let before = half.byte(end.wrapping_sub(names::CHUNKED.length + 1));
    let is_last = names::CHUNKED.begins(half.words(end.wrapping_sub(names::CHUNKED.length)))
        && (alone || is_blank(before) || before == b',');
    let is_first = names::CHUNKED.begins(half.words(value));
    let last = half.byte(end.wrapping_sub(1));
    let hides_last = is_blank(last) || last == b',';
    if half.head & (CHUNKED | CODED) != 0 || (is_first && !alone) || hides_last {
        half.head |= BAD;
    }
    half.head |= if is_last { CHUNKED } else { CODED };
}
