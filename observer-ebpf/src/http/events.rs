//! What happens in a stream: events apart from heartbeats, gaps between them, and the frames of WebSockets.
//! Formats: server-sent events (WHATWG HTML section 9.2), WebSocket frames (RFC 6455 section 5.2).

use super::{
    Calls, body,
    exchange::Outcome,
    head::fill,
    names::HEARTBEATS,
    state::{CLOSING, DATA, Http, LOST, POSITIONS, REQUEST, RESPONSE, Stage, keep, kept},
    words::matches,
};
use crate::histogram::GAP_NS;

/// What the beginning of a chunk tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It holds something.
    Event,
    /// Comments, blank lines, or an event that says nothing.
    Heartbeat,
    /// Silent so far, and there is more of it.
    Undecided,
    /// It may begin like a heartbeat, of which there is more.
    Short,
}

/// Looks at `available` bytes of data at `position` of the window; `whole` if there are no more of them.
#[inline(always)]
pub fn look<C: Calls>(calls: &C, position: u32, available: u32, whole: bool) -> Look {
    let half = &mut calls.http().halves[RESPONSE as usize];
    if available == 0 {
        return Look::Undecided;
    }
    let byte = half.byte(position);
    if is_silent(byte) {
        let look = look_behind_line(calls, position, available);
        if whole && matches!(look, Look::Undecided) { Look::Heartbeat } else { look }
    } else if byte == b'e' || byte == b'd' {
        let words = half.words(position);
        if HEARTBEATS.iter().any(|heartbeat| heartbeat.begins(words)) {
            return Look::Heartbeat;
        }
        if available < 24 && !whole { Look::Short } else { Look::Event }
    } else {
        Look::Event
    }
}

/// As [`look`], where the data begins within a line that says nothing.
#[inline(always)]
pub fn look_behind_line<C: Calls>(calls: &C, position: u32, available: u32) -> Look {
    let half = &mut calls.http().halves[RESPONSE as usize];
    keep(&mut half.cursor, position);
    keep(&mut half.first, position.wrapping_add(available));
    if calls.has_event() != 0 { Look::Event } else { Look::Undecided }
}

/// Whether a line that begins with `byte` is a comment or blank.
#[inline(always)]
const fn is_silent(byte: u8) -> bool {
    byte == b':' || byte == b'\n' || byte == b'\r'
}

/// Whether a line that is neither a comment nor blank begins behind [`Half::cursor`] and before [`Half::first`]; 0 if
/// none does.
#[inline(always)]
pub fn has_event(http: &mut Http) -> u32 {
    let half = &http.halves[RESPONSE as usize];
    let mut base = 0;
    while base < POSITIONS {
        let (position, end) = (kept(&half.cursor), kept(&half.first));
        if base >= end {
            break;
        }
        let next = half.word(base + 1);
        let silent = matches(next, b':') | matches(next, b'\n') | matches(next, b'\r');
        let starts = matches(half.counted_word(base), b'\n') & !silent;
        if starts & within(base, position, end) != 0 {
            return 1;
        }
        base += 8;
    }
    0
}

/// Of a word at `base`, the bytes from `position` on whose successor is before `end`.
#[inline(always)]
const fn within(base: u32, position: u32, end: u32) -> u64 {
    let last = end.wrapping_sub(1);
    if base.wrapping_add(8) <= position || base >= last {
        return 0;
    }
    let after = if base >= position { u64::MAX } else { u64::MAX << ((position.wrapping_sub(base) & 7) * 8) };
    let before = if base + 8 <= last { u64::MAX } else { (1_u64 << ((last.wrapping_sub(base) & 7) * 8)) - 1 };
    after & before
}

/// An event: a chunk that holds something, or a message of a WebSocket.
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

/// Buckets of gaps.
pub const GAP_BUCKETS: usize = GAP_NS.len() + 1;

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

/// The opcode that closes, RFC 6455 section 5.5.1.
const CLOSE: u8 = 8;
/// The bit of the last frame of a message.
const FIN: u8 = 0x80;
/// What is loaded to read the longest header and a close code.
const FRAME_LOAD: u32 = 24;

/// Reads the header of a WebSocket frame.
#[inline(always)]
pub fn frame<C: Calls>(calls: &C, side: u32, offset: u32, end: u32) -> u32 {
    let http = calls.http();
    let half = &mut http.halves[(side & 1) as usize];
    let carried = half.carried & 0xff;
    let Some(filled) = fill(half, calls, offset, end, FRAME_LOAD) else {
        half.flags |= LOST;
        half.stage = Stage::Frameless as u8;
        return end;
    };
    let present = filled - DATA;
    let goes_on = offset.wrapping_add(filled.wrapping_sub(DATA + carried));
    let (kind, short) = (half.byte(DATA), half.byte(DATA + 1));
    let (opcode, masked, short) = (kind & 15, short & 0x80 != 0, short & 0x7f);
    let (extended, extended_bytes) = match short {
        126 => (half.word(DATA + 2).to_be() >> 48, 2),
        127 => (half.word(DATA + 2).to_be(), 8),
        _ => (u64::from(short), 0),
    };
    let mask_at = DATA + 2 + extended_bytes;
    let header = 2 + extended_bytes + if masked { 4 } else { 0 };
    let is_close = opcode == CLOSE && short >= 2;
    let needed = if is_close { header + 2 } else { header };
    if present < 2 || present < needed {
        half.carried = present;
        return goes_on;
    }
    half.carried = 0;
    let is_control = opcode & 8 != 0;
    // RFC 6455 sections 5.1, 5.2 and 5.5; the first reserved bit is compression's (RFC 7692).
    if masked != (side & 1 == REQUEST)
        || opcode & 7 > 2
        || kind & 0x30 != 0
        || (is_control && (short > 125 || kind & FIN == 0))
        || extended >> 63 != 0
    {
        half.flags |= LOST;
        half.stage = Stage::Frameless as u8;
        return end;
    }
    half.frame = kind & (FIN | 15);
    half.remaining = extended;
    if is_close {
        half.remaining = extended - 2;
        let mask = if masked { half.word(mask_at) as u16 } else { 0 };
        let code = half.word(DATA + header) as u16 ^ mask;
        if http.exchange.close_code == 0 {
            http.exchange.close_code = code.to_be();
        }
    }
    let half = &mut http.halves[(side & 1) as usize];
    if half.remaining == 0 {
        frame_ended(http, side);
    } else {
        half.stage = Stage::Payload as u8;
    }
    offset.wrapping_add(needed.wrapping_sub(carried))
}

/// A WebSocket frame has come to its end: with its last one a message has, and with both sides' close frames the
/// exchange.
#[inline(always)]
pub fn frame_ended(http: &mut Http, side: u32) {
    let now_ns = http.halves[(side & 1) as usize].now_ns;
    let half = &mut http.halves[(side & 1) as usize];
    half.stage = Stage::Frame as u8;
    let frame = half.frame;
    if frame & 15 == CLOSE {
        half.flags |= CLOSING;
        half.stage = Stage::Frameless as u8;
        if http.halves[((side & 1) ^ 1) as usize].flags & CLOSING != 0 && http.outstanding() != 0 {
            body::exchange_ended(http, side, Outcome::Completed, now_ns);
        }
    } else if frame & 8 == 0 && frame & FIN != 0 {
        if side & 1 == RESPONSE {
            happened(http);
        } else {
            http.exchange.received += 1;
        }
    }
}
