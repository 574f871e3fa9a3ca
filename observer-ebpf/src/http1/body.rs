//! Bodies: counts their bytes by position, reads chunk sizes, and ends messages.
//! Only chunk size lines, and bytes that may be no event, are looked at.

use super::{
    Context, adoption,
    events::{self, Look},
    life_cycle,
    load::fill,
    size_line::{self, SIZE_DIGITS, UNFINISHED},
    state::{
        ADOPTING, CARRY, CHUNKED, COUNTING_GUESS, DATA, EXPECTING, GUESSING, Half, Http, LOAD, LOOKING,
        POSITIONS, REQUEST, RESPONSE, Stage, TAIL,
    },
    websocket,
};
use crate::{
    records::exchange::{Body, Outcome},
    volatile::{set_volatile, volatile},
};

/// What is loaded to read a chunk's size and the first bytes of its data.
const SIZE_LOAD: u32 = 48;
/// Small chunks that are taken of one load.
const SMALL_CHUNKS: u32 = 48;

/// Tells whether the bytes of a stage are passed over.
#[inline(always)]
pub const fn is_skipped(stage: u8) -> bool {
    const SKIPPED: u32 = 1 << Stage::Length as u32
        | 1 << Stage::Chunk as u32
        | 1 << Stage::ChunkEnd as u32
        | 1 << Stage::UntilClose as u32
        | 1 << Stage::Payload as u32
        | 1 << Stage::Opaque as u32
        | 1 << Stage::Frameless as u32;
    SKIPPED >> (stage & 31) & 1 != 0
}

/// Takes bytes of a body: a chunk's size and the chunk, or as much as there is of what is under way; where framing
/// goes on.
#[inline(always)]
pub fn body<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    let index = (side & 1) as usize;
    let mut offset = offset;
    if volatile(&context.http().halves[index].stage) == Stage::ChunkSize as u8 {
        offset = chunk_size(context, side, offset, end);
    }
    // A chunk and the line break behind it.
    let mut passed = 0;
    while passed < 2 {
        let half = &context.http().halves[index];
        if offset >= end || half.flags & (LOOKING | TAIL) != 0 || !is_skipped(volatile(&half.stage)) {
            break;
        }
        offset = skip(context.http(), side, offset, end);
        passed += 1;
    }
    offset
}

/// Takes bytes that no one needs to look at, up to the end of the body, chunk or payload; where framing goes on.
#[inline(always)]
pub fn skip(http: &mut Http, side: u32, offset: u32, end: u32) -> u32 {
    let half = &mut http.halves[(side & 1) as usize];
    let stage = half.stage;
    let present = u64::from(end.wrapping_sub(offset));
    if stage == Stage::UntilClose as u8 {
        count_bytes(http, side, present);
        return end;
    }
    if stage >= Stage::Resync as u8 {
        return end;
    }
    half.untouched = 0;
    let taken = if present < half.remaining { present } else { half.remaining };
    half.remaining -= taken;
    let over = half.remaining == 0;
    let data = stage != Stage::ChunkEnd as u8 && !(stage == Stage::Payload as u8 && half.frame & 8 != 0);
    if data {
        count_bytes(http, side, taken);
    }
    if over {
        if stage == Stage::Length as u8 {
            message_ended(http, side);
        } else if stage == Stage::Payload as u8 {
            websocket::frame_ended(http, side);
        } else {
            let half = &mut http.halves[(side & 1) as usize];
            if stage == Stage::Chunk as u8 {
                half.stage = Stage::ChunkEnd as u8;
                half.remaining = 2;
            } else {
                half.stage = Stage::ChunkSize as u8;
            }
        }
    }
    offset.wrapping_add(taken as u32)
}

/// Adds to the bytes of the exchange that the half is in.
#[inline(always)]
pub fn count_bytes(http: &mut Http, side: u32, bytes: u64) {
    if http.halves[(side & 1) as usize].flags & GUESSING != 0 {
        return;
    }
    if side & 1 == RESPONSE {
        http.exchange.response_bytes += bytes;
    } else if http.upgraded != 0 {
        http.exchange.request_bytes += bytes;
    } else if life_cycle::is_ahead(http) {
        // A length was in the record that is sent with the head.
        if http.halves[REQUEST as usize].head & CHUNKED != 0 {
            http.ahead.request_bytes += bytes;
        }
    } else if life_cycle::is_current(http) {
        http.exchange.request_bytes += bytes;
    }
}

/// Reads the line that tells a chunk's size, RFC 9112 section 7.1.
#[inline(always)]
pub fn chunk_size<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    let http = context.http();
    let looks = events::are_looked_for(http, side);
    let is_sse = http.exchange.body == Body::Sse as u8;
    let half = &mut http.halves[(side & 1) as usize];
    let carried = half.carried & 0xff;
    let Some(filled) = fill(half, context, offset, end, SIZE_LOAD) else {
        life_cycle::lost(context.http(), side);
        return end;
    };
    let goes_on = offset.wrapping_add(filled.wrapping_sub(DATA + carried));
    size_line::read(half, filled);
    let behind = volatile(&half.cursor);
    let newline = size_line::end(half, behind, filled);
    if newline == UNFINISHED && filled - DATA <= CARRY {
        half.carried = filled - DATA;
        return goes_on;
    }
    if newline >= POSITIONS || behind == DATA || behind - DATA > SIZE_DIGITS {
        if half.flags & GUESSING != 0 {
            half.stage = Stage::Resync as u8;
        } else {
            malformed(http, side);
        }
        return end;
    }
    let bytes = volatile(&half.number);
    half.carried = 0;
    half.untouched = 0;
    let mut position = newline + 1;
    if bytes == 0 {
        half.stage = Stage::Trailer as u8;
        if position + 2 <= filled && half.byte(position) == b'\r' && half.byte(position + 1) == b'\n' {
            position += 2;
            message_ended(http, side);
        }
    } else {
        half.stage = Stage::Chunk as u8;
        half.remaining = bytes;
        half.flags &= !(LOOKING | TAIL);
        if half.flags & GUESSING != 0 {
            // Not counted yet.
        } else if looks {
            let available = filled.wrapping_sub(position);
            let available = if bytes <= u64::from(available) { bytes as u32 } else { available };
            if events::begins_event(half, is_sse, position, available) {
                half.flags |= TAIL;
                events::happened(http);
            } else {
                half.flags |= LOOKING;
            }
        } else if side & 1 == RESPONSE {
            events::happened(http);
        }
    }
    offset.wrapping_add(position.wrapping_sub(DATA + carried))
}

/// Draws the consequence of a size that is none.
#[inline(always)]
fn malformed(http: &mut Http, side: u32) {
    if side & 1 == REQUEST { life_cycle::request_lost(http) } else { life_cycle::response_broke(http) }
}

/// Looks at bytes of the body at hand, of which it is not known yet whether they are an event, or how they end; where framing
/// goes on.
#[inline(always)]
pub fn look<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    if side & 1 == REQUEST {
        // Only responses have events.
        context.http().halves[REQUEST as usize].flags &= !(LOOKING | TAIL);
        return offset;
    }
    let half = &mut context.http().halves[RESPONSE as usize];
    let present = u64::from(end.wrapping_sub(offset));
    let until_close = half.stage == Stage::UntilClose as u8;
    let piece = if until_close || present < half.remaining { present } else { half.remaining } as u32;
    let last = !until_close && u64::from(piece) == half.remaining;
    if half.flags & TAIL != 0 {
        half.flags &= !TAIL;
        tail(context, offset, piece, last || until_close);
        return skip(context.http(), side, offset, offset.wrapping_add(piece));
    }
    half.carried = 0;
    let Some(filled) = fill(half, context, offset, offset.wrapping_add(piece), LOAD) else {
        life_cycle::lost(context.http(), side);
        return end;
    };
    if half.flags & ADOPTING != 0 {
        half.flags &= !LOOKING;
        adoption::adopt(context.http());
        let half = &mut context.http().halves[RESPONSE as usize];
        if half.stage != Stage::Chunk as u8 {
            return end;
        }
        half.flags |= TAIL;
        return offset;
    }
    if matches!(events::look(context, filled), Look::Event) {
        let half = &mut context.http().halves[RESPONSE as usize];
        half.flags = half.flags & !LOOKING | TAIL;
        events::happened(context.http());
        return offset;
    }
    let half = &mut context.http().halves[RESPONSE as usize];
    let looked_at = volatile(&half.cursor).wrapping_sub(DATA);
    if looked_at >= piece && (last || until_close) {
        half.flags &= !LOOKING;
    }
    let to = if looked_at > piece { piece } else { looked_at };
    skip(context.http(), side, offset, offset.wrapping_add(to))
}

/// Sees how a piece that holds data ends, if it `ends` here; else that is seen where it does.
#[inline(always)]
fn tail<C: Context>(context: &C, offset: u32, piece: u32, ends: bool) {
    let half = &mut context.http().halves[RESPONSE as usize];
    if !ends {
        half.flags |= TAIL;
        return;
    }
    let is_long = piece >= 2;
    let from = offset.wrapping_add(piece).wrapping_sub(if is_long { 2 } else { 1 });
    half.field = events::field::IN_DATA;
    if context.load(from, half, DATA, if is_long { 2 } else { 1 }) {
        let word = half.word(DATA) as u16;
        half.field = events::field_behind(if is_long { word } else { word << 8 });
    }
}

/// Begins a segment of a body that is not chunked: of a stream, it counts as a chunk.
#[inline(always)]
pub fn segment_of_body(http: &mut Http) {
    let body = http.exchange.body;
    let half = &mut http.halves[RESPONSE as usize];
    let stage = half.stage;
    if stage == Stage::UntilClose as u8 || (stage == Stage::Length as u8 && body != Body::Known as u8) {
        if events::are_looked_for(http, RESPONSE) {
            let half = &mut http.halves[RESPONSE as usize];
            half.flags = half.flags & !TAIL | LOOKING;
        } else {
            events::happened(http);
        }
    }
}

/// Takes small chunks of which the segment holds many; where framing goes on, which is `offset` where there are none.
#[inline(always)]
pub fn chunks<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    let http = context.http();
    let looks = events::are_looked_for(http, side);
    let half = &mut http.halves[(side & 1) as usize];
    if looks
        || half.stage != Stage::ChunkSize as u8
        || half.carried != 0
        || half.flags & (GUESSING | COUNTING_GUESS) != 0
    {
        return offset;
    }
    let Some(filled) = fill(half, context, offset, end, LOAD) else { return offset };
    set_volatile(&mut half.cursor, DATA);
    let mut taken = 0;
    while taken < SMALL_CHUNKS {
        if context.small_chunk(side, filled) == 0 {
            break;
        }
        taken += 1;
    }
    let half = &context.http().halves[(side & 1) as usize];
    offset.wrapping_add(volatile(&half.cursor).wrapping_sub(DATA))
}

/// Takes the chunk at [`Half::cursor`] if its size has one or two digits and it is all at hand. A function that the verifier sees
/// by itself: within the loop, each of its branches would be followed in each round (before Linux 6.2 for minutes).
#[inline(always)]
pub fn small_chunk(http: &mut Http, side: u32, filled: u32) -> bool {
    const LINE_BREAK: u64 = 0x0a0d;
    let half: &mut Half = &mut http.halves[(side & 1) as usize];
    let position = volatile(&half.cursor);
    let word = half.word(position);
    let (high, low) = (digit(word as u8), digit((word >> 8) as u8));
    let (data, line) = if word >> 8 & 0xffff == LINE_BREAK { (high, 3) } else { (high << 4 | low, 4) };
    if high > 15 || (line == 4 && (low > 15 || word >> 16 & 0xffff != LINE_BREAK)) || data == 0 {
        return false;
    }
    let behind = position.wrapping_add(line + data);
    if behind.wrapping_add(2) > filled || half.word(behind) & 0xffff != LINE_BREAK {
        return false;
    }
    set_volatile(&mut half.cursor, behind.wrapping_add(2));
    count_bytes(http, side, u64::from(data));
    if side & 1 == RESPONSE {
        events::happened(http);
    }
    true
}

/// The value of a hexadecimal digit; more than 15 for any other byte.
#[inline(always)]
const fn digit(byte: u8) -> u32 {
    let decimal = (byte as u32).wrapping_sub(b'0' as u32);
    if decimal <= 9 {
        return decimal;
    }
    let letter = (byte as u32 | 0x20).wrapping_sub(b'a' as u32);
    if letter <= 5 { letter + 10 } else { 16 }
}

/// Ends a message.
#[inline(always)]
pub fn message_ended(http: &mut Http, side: u32) {
    let now_ns = http.halves[(side & 1) as usize].now_ns;
    let half = &mut http.halves[(side & 1) as usize];
    half.stage = Stage::Start as u8;
    half.carried = 0;
    if half.flags & (GUESSING | COUNTING_GUESS) != 0 {
        return;
    }
    half.flags &= !(EXPECTING | LOOKING | TAIL);
    if side & 1 == REQUEST {
        life_cycle::request_ended(http);
    } else {
        life_cycle::exchange_ends(http, RESPONSE, Outcome::Completed, now_ns);
    }
}
