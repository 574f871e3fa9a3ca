//! Header fields that framing needs, read from the lines that were noted as candidates.
//! What two readers could take for different lengths marks the head as bad (RFC 9112 section 11.2).

use super::{
    head::{FOLDED, is_blank},
    names::{self, FIELDS, Field},
    state::{
        BAD, CHUNKED, CODED, ENCODED, EVENTS, FRAMING_LINE, Half, Http, LENGTH, LINES, LINES_OF_JSON,
        POSITIONS, WEBSOCKET, keep, kept,
    },
};

/// Reads one of the lines that were noted.
#[inline(always)]
pub fn field(http: &mut Http, side: u32, index: u32) {
    let half = &mut http.halves[(side & 1) as usize];
    let entry = kept(&half.lines[(index & (LINES as u32 - 1)) as usize]);
    let filled = kept(&half.filled);
    read_field(half, entry & (POSITIONS - 1), entry >> 16 & (POSITIONS - 1), entry & FOLDED != 0, filled);
}

/// Reads a line that may be of one of [`FIELDS`], from `start` to the newline at `end`.
#[inline(always)]
fn read_field(half: &mut Half, start: u32, end: u32, folded: bool, filled: u32) {
    let words = half.words(start);
    let mut found = None;
    for (field, name) in &FIELDS {
        if name.begins(words) {
            keep(&mut half.cursor, start.wrapping_add(name.length));
            found = Some(*field);
            break;
        }
    }
    let Some(found) = found else { return };
    let frames = matches!(found, Field::ContentLength | Field::TransferEncoding);
    let after = half.byte(kept(&half.cursor));
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
        if end + 1 >= filled {
            half.flags |= FRAMING_LINE;
        }
    }
    let mut value = kept(&half.cursor).wrapping_add(1);
    let mut blanks = 0;
    while blanks < 8 {
        if !is_blank(half.byte(value)) {
            break;
        }
        value = value.wrapping_add(1);
        keep(&mut half.cursor, value);
        value = kept(&half.cursor);
        blanks += 1;
    }
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

#[inline(always)]
fn content_length(half: &mut Half, value: u32, end: u32) {
    /// More digits than a length of 2^63 has.
    const MOST: u32 = 19;
    keep(&mut half.number, 0);
    keep(&mut half.cursor, value);
    let mut digits = 0;
    while digits < MOST {
        let digit = half.byte(value.wrapping_add(digits)).wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        let number = kept(&half.number);
        keep(&mut half.number, number.wrapping_mul(10).wrapping_add(u64::from(digit)));
        keep(&mut half.cursor, value.wrapping_add(digits + 1));
        digits += 1;
    }
    let behind = kept(&half.cursor);
    // Two lengths, none, a list of them, or more behind it.
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
