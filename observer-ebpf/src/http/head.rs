//! Heads and trailers: finds their lines and their end, a word at a time.
//! What the lines say is read elsewhere: the first one in `first_line.rs`, those of `names::FIELDS` in `fields.rs`.

use super::{
    Calls, body,
    first_line::{MESSAGE, UNEXPECTED},
    length,
    names::FIELDS,
    state::{
        BAD, CARRY, DATA, FRAMING_LINE, FRESH, Half, Http, LINES, LOAD, LOST, POSITIONS, REQUEST, RESPONSE,
        SKIPPING, Stage, keep, kept,
    },
    words::{LOWER, between, first, last, matches},
};

/// In an entry of [`Half::lines`]: the line after it continues it.
pub const FOLDED: u32 = 1 << 15;

/// Loads at most `most` bytes from `offset` on behind what was carried; how far the window is filled.
#[inline(always)]
pub fn fill<C: Calls>(half: &mut Half, calls: &C, offset: u32, end: u32, most: u32) -> Option<u32> {
    let length = end.wrapping_sub(offset);
    let length = if length > most { most } else { length };
    // The verifier sees 1..=LOAD by the mask, whatever it knows of `offset`.
    let length = (length.wrapping_sub(1) & (LOAD - 1)) + 1;
    let position = DATA + (half.carried & 0xff);
    if !calls.load(offset, half, position, length) {
        return None;
    }
    let filled = position + length;
    half.set_word(filled, 0);
    keep(&mut half.filled, filled);
    Some(filled)
}

/// Takes lines of a head or trailer from `offset` of the segment on; where the framing goes on.
#[inline(always)]
pub fn lines<C: Calls>(calls: &C, side: u32, offset: u32, end: u32) -> u32 {
    let http = calls.http();
    if side & 1 == REQUEST && http.upgraded != 0 && http.halves[0].stage == Stage::Start as u8 {
        http.halves[0].stage = Stage::Frame as u8;
        return offset;
    }
    let now_ns = http.halves[(side & 1) as usize].now_ns;
    let half = &mut http.halves[(side & 1) as usize];
    let starting = half.stage == Stage::Start as u8;
    let skipping = half.flags & SKIPPING != 0;
    let carried = half.carried & 0xff;
    if starting && carried == 0 && !skipping {
        half.started_ns = now_ns;
        half.head = 0;
    }
    let Some(filled) = fill(half, calls, offset, end, LOAD) else {
        half.flags |= LOST;
        half.stage = Stage::Resync as u8;
        return end;
    };
    half.set_word(0, if starting || skipping { 0 } else { u64::from(b'\n') << 56 });
    if half.flags & FRAMING_LINE != 0 {
        half.flags &= !FRAMING_LINE;
        if is_blank(half.byte(DATA)) {
            half.head |= BAD;
        }
    }
    keep(&mut half.count, 0);
    keep(&mut half.first, 0);
    keep(&mut half.line, if skipping { 0 } else { DATA });
    let head_end = calls.find_lines(side);

    let http = calls.http();
    let half = &mut http.halves[(side & 1) as usize];
    let line = kept(&half.line);
    let rest = filled.wrapping_sub(line);
    let cut = head_end == 0 && line != 0 && rest > CARRY;
    if starting && !start(calls, side, cut) {
        return end;
    }
    let count = kept(&calls.http().halves[(side & 1) as usize].count);
    let mut index = 0;
    while index < LINES as u32 {
        if index >= count {
            break;
        }
        calls.field(side, index);
        index += 1;
    }
    let http = calls.http();
    let half = &mut http.halves[(side & 1) as usize];
    if count > LINES as u32 {
        half.head |= BAD;
    }
    if head_end != 0 {
        half.carried = 0;
        half.flags &= !SKIPPING;
        let goes_on = offset.wrapping_add(head_end.wrapping_sub(DATA + carried));
        length::head_ended(http, side);
        if goes_on >= end {
            return goes_on;
        }
        if side & 1 == RESPONSE {
            body::segment_of_body(http);
        }
        // A body that came with its head is passed over at once.
        let half = &http.halves[(side & 1) as usize];
        if half.stage == Stage::Length as u8 && half.flags & FRESH == 0 {
            return body::skip(http, side, goes_on, end);
        }
        return goes_on;
    }
    let goes_on = offset.wrapping_add(filled.wrapping_sub(DATA + carried));
    if line == 0 || cut {
        if cut
            && half.stage == Stage::Head as u8
            && FIELDS.iter().any(|(_, name)| name.may_begin(half.word(line) | LOWER))
        {
            // Too long to be kept: its beginning tells a type, and a framing field that long is none.
            keep(&mut half.lines[0], line | filled << 16 | FOLDED);
            calls.field(side, 0);
        }
        let half = &mut calls.http().halves[(side & 1) as usize];
        half.flags |= SKIPPING;
        half.carried = 0;
    } else {
        half.flags &= !SKIPPING;
        carry(half, line, rest);
    }
    goes_on
}

/// Reads a message's first line if it is at hand, or as much of it as is kept if it is `cut`; whether the message is to
/// be framed.
#[inline(always)]
fn start<C: Calls>(calls: &C, side: u32, cut: bool) -> bool {
    let http = calls.http();
    let half = &mut http.halves[(side & 1) as usize];
    let (line, filled) = (kept(&half.line), kept(&half.filled));
    let mut end_of_first = kept(&half.first);
    if end_of_first == 0 {
        if filled != line && line != 0 && !may_start(half.byte(line), side) {
            // A handshake record of TLS (RFC 8446 section 5.1).
            let is_tls = half.byte(line) == 22 && half.byte(line + 1) == 3;
            http.tls = u8::from(is_tls);
            http.give_up();
            return false;
        }
        if cut {
            keep(&mut half.cursor, line);
            end_of_first = filled;
        }
    }
    if end_of_first == 0 {
        return true;
    }
    let read = calls.first_line(side, end_of_first);
    let http = calls.http();
    let half = &mut http.halves[(side & 1) as usize];
    if read == MESSAGE {
        half.stage = Stage::Head as u8;
        return true;
    }
    if read == UNEXPECTED {
        half.stage = Stage::Resync as u8;
        half.carried = 0;
    } else {
        http.give_up();
    }
    false
}

/// Notes the lines of the window; the position behind the empty line, or 0 where there is none yet.
#[inline(always)]
pub fn find_lines(http: &mut Http, side: u32) -> u32 {
    let half = &mut http.halves[(side & 1) as usize];
    let starting = half.stage == Stage::Start as u8;
    let mut base = 0;
    while base < POSITIONS {
        if base >= kept(&half.filled) {
            break;
        }
        let newlines = matches(half.word(base), b'\n');
        if newlines != 0 {
            let end = lines_end(half, base, newlines, starting);
            if end != 0 {
                return end;
            }
        }
        base += 8;
    }
    0
}

/// Lines end in the word at `base`.
#[inline(always)]
fn lines_end(half: &mut Half, base: u32, newlines: u64, starting: bool) -> u32 {
    let at = base + first(newlines);
    let line = kept(&half.line);
    // A line that begins and ends in one word is shorter than any that matters.
    if line != 0 && at > line {
        if starting && kept(&half.first) == 0 {
            // Empty lines before a request are to be ignored (RFC 9112 section 2.2).
            if at - line > 1 || half.byte(line) != b'\r' {
                keep(&mut half.cursor, line);
                keep(&mut half.first, at);
            }
        } else {
            let lower = half.word(line) | LOWER;
            if FIELDS.iter().any(|(_, name)| name.may_begin(lower)) {
                let count = kept(&half.count);
                let folded = if is_blank(half.byte(at + 1)) { FOLDED } else { 0 };
                keep(&mut half.lines[(count & (LINES as u32 - 1)) as usize], line | at << 16 | folded);
                keep(&mut half.count, count + 1);
            }
        }
    }
    if starting && kept(&half.first) == 0 {
        // Before a message there may be empty lines, but no short ones.
        let blank = newlines | (matches(half.word(base), b'\r') & matches(half.word(base + 1), b'\n'));
        if between(newlines) & !blank != 0 {
            keep(&mut half.cursor, at + 1);
            keep(&mut half.first, base + last(newlines));
        }
    }
    keep(&mut half.line, base + last(newlines) + 1);
    let (next, after) = (half.word(base + 1), half.word(base + 2));
    let ends = newlines & (matches(next, b'\n') | (matches(next, b'\r') & matches(after, b'\n')));
    if ends == 0 || (starting && kept(&half.first) == 0) {
        return 0;
    }
    let at = base + first(ends);
    if half.byte(at + 1) == b'\n' { at + 2 } else { at + 3 }
}

/// Moves an unfinished line of `length` bytes, at most [`CARRY`], to the beginning of the window.
#[inline(always)]
fn carry(half: &mut Half, line: u32, length: u32) {
    half.carried = length;
    if line == DATA {
        return;
    }
    let mut moved = 0;
    while moved < CARRY + 1 {
        if moved >= length {
            break;
        }
        let word = half.word(line.wrapping_add(moved));
        half.set_word(DATA + moved, word);
        moved += 8;
    }
}

/// Whether a message of this side may begin with `byte`.
#[inline(always)]
const fn may_start(byte: u8, side: u32) -> bool {
    if side & 1 == REQUEST {
        byte.is_ascii_uppercase() || byte == b'\r'
    } else {
        byte == b'H' || byte == b'\r'
    }
}

/// Whether `byte` is a space or a tab (OWS, RFC 9110 section 5.6.3).
#[inline(always)]
pub const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}
