//! Events of a stream, apart from what only keeps it alive: server-sent events (WHATWG HTML section 9.2), lines of JSON.
//! Knows lines and fields across cuts; what chunks and segments are is `body.rs`'s.

use super::{
    Context,
    names::HEARTBEATS,
    state::{DATA, Half, Http, LOAD, RESPONSE},
    words::{TOPS, first, last, matches},
};
use crate::{
    records::{
        exchange::{Body, ENCODED},
        histogram::GAP_NS,
    },
    volatile::{set_volatile, volatile},
};

/// Where the events of a body stand, in [`Half::field`].
pub mod field {
    /// Before an event: at the beginning, or behind an empty line.
    pub const EVENT: u8 = 0;
    /// At the beginning of a line, behind a line feed.
    pub const LINE: u8 = 1;
    /// Likewise, behind a carriage return, whose line feed may come.
    pub const LINE_AFTER_RETURN: u8 = 2;
    /// Behind one to four letters of `data` at the beginning of a line: this and the number of letters.
    pub const LETTERS: u8 = 2;
    /// In a line of data.
    pub const IN_DATA: u8 = 7;
    /// In a line of something else.
    pub const IN_OTHER: u8 = 8;
    /// In an event that only says that the stream lives, up to the empty line behind it.
    pub const IN_HEARTBEAT: u8 = 9;
    /// Likewise, at the beginning of a line.
    pub const IN_HEARTBEAT_LINE: u8 = 10;
}

/// The letters of the field that makes an event.
const LETTERS: [u8; 4] = *b"data";

/// What [`look`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Data.
    Event,
    /// Nothing up to here; [`Half::cursor`] is behind what was looked at.
    Nothing,
}

/// Tells whether the body at hand has events that are to be told from other bytes.
#[inline(always)]
pub fn are_looked_for(http: &Http, side: u32) -> bool {
    let body = http.exchange.body;
    side & 1 == RESPONSE
        && (body == Body::Sse as u8 || body == Body::Ndjson as u8)
        && http.exchange.flags & ENCODED == 0
}

/// Tells at once, of the 24 bytes at `position`, whether they begin an event; false if that takes a closer look.
#[inline(always)]
pub fn begins_event(half: &Half, is_sse: bool, position: u32, available: u32) -> bool {
    let words = half.words(position);
    if !is_sse {
        return available > 0 && !is_blank(half.byte(position));
    }
    half.field == field::EVENT
        && available >= 24
        && words[0] & 0xff_ffff_ffff == u64::from_le_bytes(*b"data:\0\0\0")
        && !HEARTBEATS.iter().any(|heartbeat| heartbeat.begins(words))
}

#[inline(always)]
const fn is_blank(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r' || byte == b' '
}

/// Looks at the window's bytes from [`DATA`] to `filled` for an event. Of server-sent events it goes up to the end of one at
/// the most.
#[inline(always)]
pub fn look<C: Context>(context: &C, filled: u32) -> Look {
    let http = context.http();
    let is_sse = http.exchange.body == Body::Sse as u8;
    let half = &mut http.halves[RESPONSE as usize];
    // Zeros behind the bytes are neither a break nor a letter.
    half.set_word(filled, 0);
    half.set_word(filled.wrapping_add(8), 0);
    set_volatile(&mut half.first, filled);
    set_volatile(&mut half.cursor, filled);
    if !is_sse {
        let found = context.search(u32::from(false));
        return if found == FOUND_DATA { Look::Event } else { Look::Nothing };
    }
    let mut at = half.field;
    if at == field::EVENT && HEARTBEATS.iter().any(|heartbeat| heartbeat.begins(half.words(DATA))) {
        at = field::IN_HEARTBEAT;
    }
    if begins_with_mark(half, filled) && http.exchange.response_bytes == 0 {
        // The mark of UTF-8 before the first line is no part of it (WHATWG HTML section 9.2.5).
        let half = &mut http.halves[RESPONSE as usize];
        set_volatile(&mut half.cursor, DATA + 3);
        return Look::Nothing;
    }
    let half = &mut http.halves[RESPONSE as usize];
    if at == field::IN_DATA && !is_break(half.byte(DATA)) {
        return Look::Event;
    }
    half.field = at;
    put_context(half, at);
    set_volatile(&mut half.line, 0);
    let found = context.search(u32::from(true));
    let half = &mut context.http().halves[RESPONSE as usize];
    if found == FOUND_DATA {
        return Look::Event;
    }
    half.field = if found == FOUND_END { field::EVENT } else { field_at_end(half, filled) };
    Look::Nothing
}

/// Tells whether the window begins with the byte order mark of UTF-8.
#[inline(always)]
fn begins_with_mark(half: &Half, filled: u32) -> bool {
    const MARK: u64 = 0xbf_bbef;
    filled >= DATA + 3 && half.word(DATA) & 0xff_ffff == MARK
}

/// Searches the window as [`look`] asks for it: for what is no blank, or, with `is_sse`, for a line of data or the empty line
/// that ends an event, whichever comes first. [`FOUND_DATA`], or [`FOUND_END`] with [`Half::cursor`] behind it, or 0; then
/// [`Half::line`] is behind the last break.
#[inline(always)]
pub fn search(http: &mut Http, is_sse: u32) -> u32 {
    let half = &mut http.halves[RESPONSE as usize];
    set_volatile(&mut half.value, 0);
    if is_sse == 0 {
        return u32::from(has_other_than_blanks(half)) * FOUND_DATA;
    }
    search_events(half);
    volatile(&half.value)
}

/// The search found data.
const FOUND_DATA: u32 = 1;
/// The search found the end of an event first.
const FOUND_END: u32 = 2;

#[inline(always)]
const fn is_break(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// Writes before the window's bytes what the piece before ended with, as far as it matters.
#[inline(always)]
fn put_context(half: &mut Half, at: u8) {
    const DATA_BEFORE: u64 = u64::from_le_bytes(*b"\0\0\0\ndata");
    let letters = at.wrapping_sub(field::LETTERS);
    let context = if at > field::LETTERS && at < field::IN_DATA {
        // The letters that came go to the end.
        let dropped = u32::from(4 - (letters & 3)) & 3;
        (DATA_BEFORE << (dropped * 8)) & !((1_u64 << (dropped * 8)) - 1)
    } else if at == field::EVENT || at == field::LINE || at == field::IN_HEARTBEAT_LINE {
        u64::from_le_bytes(*b"\0\0\0\0\0\0x\n")
    } else if at == field::LINE_AFTER_RETURN {
        u64::from_le_bytes(*b"\0\0\0\0\0\0x\r")
    } else {
        u64::from_le_bytes(*b"\0\0\0\0\0\0xx")
    };
    half.set_word(DATA - 8, context);
}

/// Where the search begins: the letters that came before are in front of the window's bytes.
const FROM: u32 = DATA - 4;
/// Behind the last byte that the search comes to.
const TO: u32 = DATA + LOAD;

/// The search for [`search`], whose result is [`Half::value`]. What is not looked for is zero, so nothing is masked.
#[inline(always)]
fn search_events(half: &mut Half) {
    let mut base = FROM;
    while base < TO {
        if base >= volatile(&half.first) {
            break;
        }
        let (before, here) = (half.counted_word(base - 1), half.counted_word(base));
        let breaks = matches(here, b'\n') | matches(here, b'\r');
        let (fed, returned) = (matches(before, b'\n'), matches(before, b'\r'));
        // A line feed behind a carriage return is the same break.
        let ends = (fed & breaks) | (returned & matches(here, b'\r'));
        let data = data_at(half, base, fed | returned);
        let found = ends | data;
        if found != 0 {
            let at = first(found);
            let is_data = data >> (at * 8 + 7) & 1;
            set_volatile(&mut half.value, if is_data != 0 { FOUND_DATA } else { FOUND_END });
            set_volatile(&mut half.cursor, base + at + 1);
            break;
        }
        if breaks != 0 {
            set_volatile(&mut half.line, base + last(breaks) + 1);
        }
        base += 8;
    }
}

/// The top bit of each byte of the word at `base` with which a line of data begins, `starts` behind a break: all of `data` and
/// what ends a field's name. None in an event that only says that the stream lives.
#[inline(always)]
fn data_at(half: &Half, base: u32, starts: u64) -> u64 {
    let after = half.counted_word(base + 4);
    let names = matches(after, b':') | matches(after, b'\n') | matches(after, b'\r');
    let found = starts
        & matches(half.counted_word(base), LETTERS[0])
        & matches(half.counted_word(base + 1), LETTERS[1])
        & matches(half.counted_word(base + 2), LETTERS[2])
        & matches(half.counted_word(base + 3), LETTERS[3])
        & names;
    if volatile(&half.field) >= field::IN_HEARTBEAT { 0 } else { found }
}

/// Tells where the events stand at `end` of the window, in which [`search`] found nothing.
#[inline(always)]
fn field_at_end(half: &Half, end: u32) -> u8 {
    let line = volatile(&half.line);
    let at = half.field;
    if at >= field::IN_HEARTBEAT {
        let ended = line != 0 && line == end && half.byte(end.wrapping_sub(1)) == b'\n';
        return if ended { field::IN_HEARTBEAT_LINE } else { field::IN_HEARTBEAT };
    }
    if line == 0 {
        return at;
    }
    let length = end.wrapping_sub(line);
    if length == 0 {
        let is_return = half.byte(end.wrapping_sub(1)) == b'\r';
        return if is_return { field::LINE_AFTER_RETURN } else { field::LINE };
    }
    let known = if length > 4 { 4 } else { length };
    let mask = (1_u64 << (known * 8)) - 1;
    let same = (half.word(line) ^ u64::from(u32::from_le_bytes(LETTERS))) & mask == 0;
    // A line that goes on behind all four letters without a colon is of another field.
    if same && length <= 4 { field::LETTERS + known as u8 } else { field::IN_OTHER }
}

/// Tells where the events stand behind a piece whose last two bytes are `last` (the last one in the upper half), in which
/// data was found.
#[inline(always)]
pub const fn field_behind(last: u16) -> u8 {
    let (before, byte) = ((last & 0xff) as u8, (last >> 8) as u8);
    match (before, byte) {
        (b'\n', b'\n' | b'\r') | (b'\r', b'\r') => field::EVENT,
        (_, b'\n') => field::LINE,
        (_, b'\r') => field::LINE_AFTER_RETURN,
        _ => field::IN_DATA,
    }
}

/// Tells whether the window's bytes up to [`Half::first`] hold more than blanks and breaks.
#[inline(always)]
fn has_other_than_blanks(half: &mut Half) -> bool {
    let mut base = DATA;
    while base < TO {
        if base >= volatile(&half.first) {
            break;
        }
        let word = half.counted_word(base);
        let blanks = matches(word, b'\n') | matches(word, b'\r') | matches(word, b' ') | matches(word, 0);
        if !blanks & TOPS != 0 {
            return true;
        }
        base += 8;
    }
    false
}

/// Counts an event: a chunk that holds something, or a message of a WebSocket.
#[inline(always)]
pub fn happened(http: &mut Http) {
    let now_ns = http.halves[RESPONSE as usize].now_ns;
    let stall_ns = http.stall_ns;
    let exchange = &mut http.exchange;
    exchange.sent += 1;
    if exchange.event_ns == 0 {
        exchange.event_ns = now_ns;
    } else {
        let gap_ns = now_ns.wrapping_sub(exchange.last_event_ns);
        if let Some(count) = exchange.gaps.get_mut(gap_bucket(gap_ns)) {
            *count += 1;
        }
        exchange.gap_sum_ns += gap_ns;
        if gap_ns > stall_ns {
            exchange.stalls += 1;
        }
    }
    exchange.last_event_ns = now_ns;
}

/// The bucket that a gap belongs to.
#[inline(always)]
pub fn gap_bucket(gap_ns: u64) -> usize {
    let mut bucket = 0;
    for bound in GAP_NS {
        // One more where the gap is longer, without a branch: before Linux 6.8 the verifier followed both ways of each.
        bucket += (bound.wrapping_sub(gap_ns) >> 63) as usize;
    }
    bucket
}
