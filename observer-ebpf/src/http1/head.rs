//! Heads and trailers: finds their lines and their end, a word at a time.
//! What the lines say is read in `first_line.rs`, and for those of `names::FIELDS` in `fields.rs`.

use super::{
    Context, body,
    fields::{self, is_blank},
    first_line::{FOREIGN, MESSAGE},
    length, life_cycle,
    load::fill,
    names::FIELDS,
    state::{
        BAD, CARRY, DATA, EXPECTING, FRAMING_LINE, Half, Http, LINES, LOAD, LOOKING, POSITIONS, REQUEST,
        RESPONSE, SKIPPING, Stage,
    },
    words::{LOWER, between, first, last, matches},
};
use crate::volatile::{set_volatile, volatile};

/// In an entry of [`Half::lines`]: the line after it continues it.
pub const FOLDED: u32 = 1 << 15;

/// Loads bytes of a head and reads their lines; false if they cannot be had. Of what it knows nothing stays in registers:
/// the verifier would go through the loop once for each combination of that.
#[inline(always)]
fn read_lines<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> bool {
    let half = &mut context.http().halves[(side & 1) as usize];
    if volatile(&half.stage) == Stage::Start as u8 && half.carried == 0 && half.flags & SKIPPING == 0 {
        let now_ns = half.now_ns;
        set_volatile(&mut half.started_ns, now_ns);
        set_volatile(&mut half.head, 0);
    }
    if fill(half, context, offset, end, LOAD).is_none() {
        if side & 1 == REQUEST {
            life_cycle::request_lost(context.http());
        } else {
            life_cycle::response_lost(context.http());
        }
        return false;
    }
    let flags = volatile(&half.flags);
    if flags & FRAMING_LINE != 0 {
        set_volatile(&mut half.flags, flags & !FRAMING_LINE);
        if is_blank(half.byte(DATA)) {
            let head = volatile(&half.head);
            set_volatile(&mut half.head, head | BAD);
        }
    }
    set_volatile(&mut half.first, 0);
    set_volatile(&mut half.end, 0);
    let skipped = u32::from(volatile(&half.flags) & SKIPPING);
    set_volatile(&mut half.line, DATA * (1 - skipped));
    set_volatile(&mut half.count, 0);
    find_lines(half);
    read_fields(context, side);
    true
}

/// Takes lines of a head or trailer from `offset` of the segment on; where the framing goes on.
#[inline(always)]
pub fn lines<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    if !read_lines(context, side, offset, end) {
        return end;
    }
    let half = &mut context.http().halves[(side & 1) as usize];
    let (head_end, line, filled) = (volatile(&half.end), volatile(&half.line), volatile(&half.filled));
    let carried = half.carried & 0xff;
    let starting = volatile(&half.stage) == Stage::Start as u8;
    let rest = filled.wrapping_sub(line);
    let cut = head_end == 0 && line != 0 && rest > CARRY;
    if starting && !start(context, side, cut) {
        return end;
    }
    let http = context.http();
    let half = &mut http.halves[(side & 1) as usize];
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
        if half.stage == Stage::Length as u8 && half.flags & (EXPECTING | LOOKING) == 0 {
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
            fields::read(context, side, line, filled, true);
        }
        let half = &mut context.http().halves[(side & 1) as usize];
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
fn start<C: Context>(context: &C, side: u32, cut: bool) -> bool {
    let http = context.http();
    let half = &mut http.halves[(side & 1) as usize];
    let (line, filled) = (volatile(&half.line), volatile(&half.filled));
    let mut end_of_first = volatile(&half.first);
    if end_of_first == 0 {
        if filled != line && line != 0 && !may_start(half.byte(line), side) {
            foreign(http, side);
            return false;
        }
        if cut {
            set_volatile(&mut half.cursor, line);
            end_of_first = filled;
        }
    }
    if end_of_first == 0 {
        return true;
    }
    let read = context.first_line(side, end_of_first);
    let http = context.http();
    let half = &mut http.halves[(side & 1) as usize];
    if read == MESSAGE {
        half.stage = Stage::Head as u8;
        return true;
    }
    if read == FOREIGN {
        foreign(http, side);
    }
    false
}

/// Draws the consequence of a first line that is none. Behind messages that were, framing has gone wrong; before any, the
/// connection is of something else.
#[inline(always)]
fn foreign(http: &mut Http, side: u32) {
    let messages = if side & 1 == REQUEST { volatile(&http.requests) } else { volatile(&http.responses) };
    if messages == 0 {
        life_cycle::foreign(http, side);
    } else if side & 1 == REQUEST {
        life_cycle::request_lost(http);
    } else {
        life_cycle::response_lost(http);
    }
}

/// Finds the lines of the window up to the empty one, and leaves [`Half::end`] behind that. Those that may matter are noted
/// in [`Half::lines`], and the first one of a message is, from [`Half::cursor`] to [`Half::first`].
#[inline(always)]
fn find_lines(half: &mut Half) {
    let mut base = DATA;
    while base < POSITIONS {
        if base >= volatile(&half.filled) || volatile(&half.end) != 0 {
            break;
        }
        let newlines = matches(half.counted_word(base), b'\n');
        if newlines != 0 {
            line_ended(half, base, newlines);
        }
        base += 8;
    }
}

/// Reads the lines that were noted. More of them than there is room for are none of a head that can be trusted.
#[inline(always)]
fn read_fields<C: Context>(context: &C, side: u32) {
    let mut index = 0;
    while index < LINES as u32 {
        let half = &context.http().halves[(side & 1) as usize];
        if index >= volatile(&half.count) {
            break;
        }
        let entry = volatile(&half.lines[index as usize]);
        let (start, end) = (entry & (POSITIONS - 1), entry >> 16 & (POSITIONS - 1));
        fields::read(context, side, start, end, entry & FOLDED != 0);
        index += 1;
    }
    let half = &mut context.http().halves[(side & 1) as usize];
    if volatile(&half.count) > LINES as u32 {
        let head = volatile(&half.head);
        set_volatile(&mut half.head, head | BAD);
    }
}

/// The line at hand, and perhaps others, end in the word at `base`.
#[inline(always)]
fn line_ended(half: &mut Half, base: u32, newlines: u64) {
    let at = base + first(newlines);
    let line = volatile(&half.line);
    if line != 0 {
        if is_empty(half, line, at) {
            // Before a request they are to be ignored (RFC 9112 section 2.2).
            if !awaits_first_line(half) {
                set_volatile(&mut half.end, at + 1);
                return;
            }
        } else if awaits_first_line(half) {
            set_volatile(&mut half.cursor, line);
            set_volatile(&mut half.first, at);
        } else if FIELDS.iter().any(|(_, name)| name.may_begin(half.word(line) | LOWER)) {
            let folded = if is_blank(half.byte(at + 1)) { FOLDED } else { 0 };
            let count = volatile(&half.count);
            set_volatile(&mut half.lines[(count & (LINES as u32 - 1)) as usize], line | at << 16 | folded);
            set_volatile(&mut half.count, count + 1);
        }
    }
    set_volatile(&mut half.line, at + 1);
    if newlines & newlines.wrapping_sub(1) != 0 {
        short_lines(half, base, newlines);
    }
}

/// Whether the line from `line` to the newline at `at` is empty.
#[inline(always)]
fn is_empty(half: &Half, line: u32, at: u32) -> bool {
    at == line || (at == line.wrapping_add(1) && half.byte(line) == b'\r')
}

/// Whether the message's first line has not ended yet.
#[inline(always)]
fn awaits_first_line(half: &Half) -> bool {
    volatile(&half.stage) == Stage::Start as u8 && volatile(&half.first) == 0
}

/// More than one line ends in the word at `base`: those behind the first are shorter than any that matters, but one of
/// them may be empty.
#[inline(always)]
fn short_lines(half: &mut Half, base: u32, newlines: u64) {
    set_volatile(&mut half.line, base + last(newlines) + 1);
    let (next, after) = (half.word(base + 1), half.word(base + 2));
    if awaits_first_line(half) {
        // Before a message there may be empty lines, but no short ones.
        let blank = newlines | (matches(half.word(base), b'\r') & matches(next, b'\n'));
        if between(newlines) & !blank != 0 {
            set_volatile(&mut half.cursor, base + first(newlines) + 1);
            set_volatile(&mut half.first, base + last(newlines));
        }
        return;
    }
    let ends = newlines & (matches(next, b'\n') | (matches(next, b'\r') & matches(after, b'\n')));
    if ends != 0 {
        let at = base + first(ends);
        let behind = if half.byte(at + 1) == b'\n' { at + 2 } else { at + 3 };
        set_volatile(&mut half.end, behind);
    }
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
