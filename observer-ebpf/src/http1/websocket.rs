//! Frames of WebSockets and the messages that they make (RFC 6455).
//! Reads headers and close codes; payloads are passed over.

use super::{
    Context, events,
    life_cycle::{self},
    load::fill,
    state::{CLOSING, DATA, Half, Http, REQUEST, RESPONSE, Stage},
};
use crate::{
    records::exchange::Outcome,
    volatile::{set_volatile, volatile},
};

/// The opcode that closes, section 5.5.1.
const CLOSE: u8 = 8;
/// The bit of the last frame of a message.
const FIN: u8 = 0x80;
/// What is loaded to read the longest header and a close code; and where frames are short, many of them.
const FRAME_LOAD: u32 = 24;
/// What is loaded where frames were short: as much as there is room for.
const FRAMES_LOAD: u32 = super::state::LOAD;
/// Short frames that are taken of one load.
const SHORT_FRAMES: u32 = 64;

/// Takes the header of a frame, or all of many short frames; where framing goes on.
#[inline(always)]
pub fn frame<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    let http = context.http();
    let half = &mut http.halves[(side & 1) as usize];
    let carried = half.carried & 0xff;
    let Some(filled) = fill(half, context, offset, end, FRAME_LOAD) else {
        life_cycle::lost(context.http(), side);
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
    // Sections 5.1, 5.2 and 5.5; the first reserved bit is compression's (RFC 7692).
    if masked != (side & 1 == REQUEST)
        || opcode & 7 > 2
        || kind & 0x30 != 0
        || (is_control && (short > 125 || kind & FIN == 0))
        || extended >> 63 != 0
    {
        life_cycle::lost(http, side);
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

/// Takes short frames of whole messages, of which a burst has many in one segment; where framing goes on, which is `offset`
/// where there are none.
#[inline(always)]
pub fn frames<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    let http = context.http();
    let half = &mut http.halves[(side & 1) as usize];
    if half.stage != Stage::Frame as u8 || half.carried != 0 {
        return offset;
    }
    let Some(filled) = fill(half, context, offset, end, FRAMES_LOAD) else { return offset };
    set_volatile(&mut half.cursor, DATA);
    let mut taken = 0;
    while taken < SHORT_FRAMES {
        if context.short_frame(side, filled) == 0 {
            break;
        }
        taken += 1;
    }
    let half = &context.http().halves[(side & 1) as usize];
    offset.wrapping_add(volatile(&half.cursor).wrapping_sub(DATA))
}

/// Takes the frame at [`Half::cursor`] if it is a whole message of less than 126 bytes that is all at hand. By itself for the
/// verifier, as [`super::body::small_chunk`].
#[inline(always)]
pub fn short_frame(http: &mut Http, side: u32, filled: u32) -> bool {
    let half: &mut Half = &mut http.halves[(side & 1) as usize];
    let position = volatile(&half.cursor);
    let (kind, second) = (half.byte(position), half.byte(position.wrapping_add(1)));
    let (masked, length) = (second & 0x80 != 0, u32::from(second & 0x7f));
    let header = if masked { 6 } else { 2 };
    let behind = position.wrapping_add(header + length);
    let opcode = kind & 15;
    // The first reserved bit is compression's.
    if length > 125
        || behind > filled
        || kind & 0xb0 != FIN
        || masked != (side & 1 == REQUEST)
        || !matches!(opcode, 1 | 2 | 9 | 10)
    {
        return false;
    }
    set_volatile(&mut half.cursor, behind);
    if opcode & 8 != 0 {
        return true;
    }
    if side & 1 == RESPONSE {
        http.exchange.response_bytes += u64::from(length);
        events::happened(http);
    } else {
        http.exchange.request_bytes += u64::from(length);
        http.exchange.received += 1;
    }
    true
}

/// Ends a frame: with its last one a message ends, and with both sides' close frames the exchange.
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
            life_cycle::exchange_ends(http, side, Outcome::Completed, now_ns);
        }
    } else if frame & 8 == 0 && frame & FIN != 0 {
        if side & 1 == RESPONSE {
            events::happened(http);
        } else {
            http.exchange.received += 1;
        }
    }
}
