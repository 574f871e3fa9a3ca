//! Bodies: counts their bytes by position, reads chunk sizes, and ends messages.
//! Only chunk size lines, and the beginning of chunks that may be heartbeats, are looked at.

use super::{
    Calls,
    events::{self, Look},
    exchange::{Body, ENCODED, EXCHANGE, HEAD_BYTES, Outcome, PATH_BYTES, STREAM},
    head::fill,
    resync, segments,
    state::{
        ADOPTING, CARRY, COUNTING_GUESS, DATA, FRESH, FRESH_NEXT, GUESSING, Half, Http, LOAD, LOST, MID_LINE,
        POSITIONS, REQUEST, RESPONSE, SEND_EXCHANGE, Stage, keep, kept,
    },
    words::{first, matches},
};

/// What is loaded to read a chunk's size and the first bytes of its data.
const SIZE_LOAD: u32 = 48;
/// Hexadecimal digits of a size below 2^60.
const SIZE_DIGITS: u32 = 15;

/// Takes bytes of a body: a chunk's size and the chunk, or as much as there is of what is under way; where framing
/// goes on.
#[inline(always)]
pub fn body<C: Calls>(calls: &C, side: u32, offset: u32, end: u32) -> u32 {
    let index = (side & 1) as usize;
    let half = &calls.http().halves[index];
    if half.flags & FRESH != 0 {
        look_again(calls, offset, end);
    }
    let mut offset = offset;
    if kept(&calls.http().halves[index].stage) == Stage::ChunkSize as u8 {
        offset = chunk_size(calls, side, offset, end);
    }
    // A chunk and the line break behind it.
    let mut passed = 0;
    while passed < 2 {
        let half = &calls.http().halves[index];
        if offset >= end || half.flags & FRESH != 0 || !segments::is_skipped(kept(&half.stage)) {
            break;
        }
        offset = skip(calls.http(), side, offset, end);
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
            events::frame_ended(http, side);
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
    } else if http.upgraded != 0 || is_current(http) {
        http.exchange.request_bytes += bytes;
    }
}

/// Whether the latest request is the one that the exchange is about.
#[inline(always)]
fn is_current(http: &Http) -> bool {
    kept(&http.requests) == http.exchange.index.wrapping_add(1)
}

/// Reads the line that tells a chunk's size, RFC 9112 section 7.1.
#[inline(always)]
pub fn chunk_size<C: Calls>(calls: &C, side: u32, offset: u32, end: u32) -> u32 {
    let http = calls.http();
    let looks = looks_for_events(http, side);
    let half = &mut http.halves[(side & 1) as usize];
    let carried = half.carried & 0xff;
    let Some(filled) = fill(half, calls, offset, end, SIZE_LOAD) else {
        half.flags |= LOST;
        half.stage = Stage::Resync as u8;
        return end;
    };
    let goes_on = offset.wrapping_add(filled.wrapping_sub(DATA + carried));
    read_size(half, filled);
    let behind = kept(&half.cursor);
    let newline = size_line_end(half, behind, filled);
    if newline == UNFINISHED && filled - DATA <= CARRY {
        half.carried = filled - DATA;
        return goes_on;
    }
    if newline >= POSITIONS || behind == DATA || behind - DATA > SIZE_DIGITS {
        if half.flags & GUESSING != 0 {
            half.stage = Stage::Resync as u8;
        } else {
            half.flags |= LOST;
            http.give_up();
        }
        return end;
    }
    let bytes = kept(&half.number);
    half.carried = 0;
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
        half.flags &= !(FRESH | FRESH_NEXT | MID_LINE);
        if half.flags & GUESSING != 0 {
            // Not counted yet.
        } else if looks {
            let available = filled.wrapping_sub(position);
            let whole = bytes <= u64::from(available);
            let available = if whole { bytes as u32 } else { available };
            let look = events::look(calls, position, available, whole);
            settle(calls.http(), look);
        } else if side & 1 == RESPONSE {
            events::happened(http);
        }
    }
    offset.wrapping_add(position.wrapping_sub(DATA + carried))
}

/// Whether the data at hand may be a heartbeat instead of an event.
#[inline(always)]
fn looks_for_events(http: &Http, side: u32) -> bool {
    let body = http.exchange.body;
    side & 1 == RESPONSE
        && (body == Body::Sse as u8 || body == Body::Ndjson as u8)
        && http.exchange.flags & ENCODED == 0
}

/// Draws the consequence of a look at a chunk's beginning.
#[inline(always)]
fn settle(http: &mut Http, look: Look) {
    match look {
        Look::Event => events::happened(http),
        Look::Heartbeat => {}
        Look::Undecided | Look::Short => http.halves[RESPONSE as usize].flags |= FRESH,
    }
}

/// Looks at the beginning of data whose size line came without it, or with too little of it.
#[inline(always)]
pub fn look_again<C: Calls>(calls: &C, offset: u32, end: u32) {
    let http = calls.http();
    let half = &mut http.halves[RESPONSE as usize];
    half.flags &= !FRESH;
    let Some(filled) = fill(half, calls, offset, end, LOAD) else { return };
    if half.flags & ADOPTING != 0 {
        resync::adopt(http);
        return;
    }
    let continues = half.flags & MID_LINE != 0;
    half.flags &= !MID_LINE;
    let available = filled - DATA;
    let whole = half.remaining <= u64::from(available) && half.stage != Stage::UntilClose as u8;
    let available = if whole { half.remaining as u32 } else { available };
    let in_line = half.byte(DATA + available - 1) != b'\n';
    let look = if continues {
        events::look_behind_line(calls, DATA, available)
    } else {
        events::look(calls, DATA, available, whole)
    };
    let half = &mut calls.http().halves[RESPONSE as usize];
    match look {
        // Too short to be told from a heartbeat, and the rest is another segment's.
        Look::Event | Look::Short => events::happened(calls.http()),
        // The chunk goes on with the next segment. What is longer than a window is a long comment.
        Look::Heartbeat | Look::Undecided if !whole && available == end.wrapping_sub(offset) => {
            half.flags |= if in_line { FRESH_NEXT | MID_LINE } else { FRESH_NEXT };
        }
        Look::Heartbeat | Look::Undecided => {}
    }
}

/// A segment of a body that is not chunked: of a stream, it counts as a chunk.
#[inline(always)]
pub fn segment_of_body(http: &mut Http) {
    let half = &mut http.halves[RESPONSE as usize];
    if half.flags & FRESH_NEXT != 0 {
        half.flags = half.flags & !FRESH_NEXT | FRESH;
        return;
    }
    let body = http.exchange.body;
    let stage = http.halves[RESPONSE as usize].stage;
    if stage == Stage::UntilClose as u8 || (stage == Stage::Length as u8 && body != Body::Known as u8) {
        if looks_for_events(http, RESPONSE) {
            http.halves[RESPONSE as usize].flags |= FRESH;
        } else {
            events::happened(http);
        }
    }
}

/// Reads hexadecimal digits from the window's beginning into [`Half::number`]; [`Half::cursor`] is behind them.
#[inline(always)]
fn read_size(half: &mut Half, filled: u32) {
    keep(&mut half.number, 0);
    keep(&mut half.cursor, DATA);
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
        let number = kept(&half.number);
        keep(&mut half.number, number << 4 | u64::from(digit));
        keep(&mut half.cursor, position + 1);
        position += 1;
    }
}

/// A size line that the window begins with: the size, which is not 0, and where the data begins.
#[inline(always)]
pub fn whole_size_line(half: &mut Half, filled: u32) -> Option<(u64, u32)> {
    read_size(half, filled);
    let behind = kept(&half.cursor);
    let newline = size_line_end(half, behind, filled);
    let size = kept(&half.number);
    let is_one = newline < POSITIONS && behind > DATA && behind - DATA <= SIZE_DIGITS && size > 0;
    is_one.then_some((size, newline + 1))
}

/// The line goes on in the next segment.
const UNFINISHED: u32 = POSITIONS;
/// The line is none of a chunk.
const MALFORMED: u32 = POSITIONS + 1;

/// Where the size line ends whose digits end at `behind`.
#[inline(always)]
fn size_line_end(half: &mut Half, behind: u32, filled: u32) -> u32 {
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
    keep(&mut half.line, UNFINISHED);
    let mut base = DATA;
    while base < POSITIONS {
        if base >= kept(&half.filled) {
            break;
        }
        let newlines = matches(half.counted_word(base), b'\n');
        if newlines != 0 {
            keep(&mut half.line, base + first(newlines));
            break;
        }
        base += 8;
    }
    kept(&half.line)
}

/// A message has come to its end.
#[inline(always)]
pub fn message_ended(http: &mut Http, side: u32) {
    let now_ns = http.halves[(side & 1) as usize].now_ns;
    let half = &mut http.halves[(side & 1) as usize];
    half.stage = Stage::Start as u8;
    half.carried = 0;
    if half.flags & (GUESSING | COUNTING_GUESS) != 0 {
        return;
    }
    if side & 1 == REQUEST {
        if is_current(http) {
            http.exchange.request_ns = now_ns;
        }
    } else {
        exchange_ended(http, RESPONSE, Outcome::Completed, now_ns);
    }
}

/// The exchange has come to its end; `side` is to send it.
#[inline(always)]
pub fn exchange_ended(http: &mut Http, side: u32, outcome: Outcome, now_ns: u64) {
    let exchange = &mut http.exchange;
    exchange.ended_ns = now_ns;
    exchange.outcome = outcome as u8;
    let long = exchange.sent > 1 || exchange.body == Body::WebSocket as u8;
    exchange.kind = if long && exchange.body != Body::Known as u8 { STREAM } else { EXCHANGE };
    http.halves[(side & 1) as usize].send |= SEND_EXCHANGE;
}

impl Http {
    /// How many bytes of the exchange are sent.
    #[inline(always)]
    pub fn exchange_bytes(&self) -> u32 {
        if self.exchange.kind == STREAM {
            return size_of_val(&self.exchange) as u32;
        }
        let path = u32::from(self.exchange.path_length);
        let path = if path > PATH_BYTES as u32 { PATH_BYTES as u32 } else { path };
        HEAD_BYTES as u32 + path
    }

    /// The exchange was sent: the next response is another's.
    #[inline(always)]
    pub fn exchange_sent(&mut self) {
        let responses = kept(&self.responses).wrapping_add(1);
        keep(&mut self.responses, responses);
    }
}
