//! Heads and trailers: finds their lines and end, and reads the first line and the fields that framing needs.
//! One pass looks for newlines a word at a time; a second one reads the few lines that may matter.

use super::{
    Calls, body,
    exchange::{self, Body, PATH_BYTES, PATH_CUT},
    names::{self, FIELDS, Field, METHODS},
    state::{
        AHEAD_SENT, BAD, CARRY, CHUNKED, CODED, DATA, ENCODED, EVENTS, FRAMING_LINE, FRESH, Half, Http,
        LENGTH, LINES, LINES_OF_JSON, LOAD, LOST, POSITIONS, REQUEST, RESPONSE, SEND_AHEAD, SKIPPING, Stage,
        WAITING, WEBSOCKET, keep, kept,
    },
    words::{LOWER, between, first, last, matches},
};

/// In an entry of [`Half::lines`]: the line after it continues it.
const FOLDED: u32 = 1 << 15;

/// Of a first line: it is that of a message.
pub const MESSAGE: u32 = 0;
/// Of a first line: it is that of a response that nobody asked for.
pub const UNEXPECTED: u32 = 1;
/// Of a first line: it is not of HTTP/1.x.
pub const FOREIGN: u32 = 2;

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
    let now_ns = http.now_ns[(side & 1) as usize];
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
        head_ended(http, side);
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

/// Reads the first line, which ends at `end`: [`MESSAGE`], [`UNEXPECTED`] or [`FOREIGN`].
#[inline(always)]
pub fn first_line(http: &mut Http, side: u32, end: u32) -> u32 {
    if side & 1 == REQUEST { request_line(http, end) } else { status_line(http, end) }
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

#[inline(always)]
const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Reads the request line from [`Half::cursor`] to the newline at `end`, or as much as there is of a longer one.
#[inline(always)]
fn request_line(http: &mut Http, end: u32) -> u32 {
    let waiting = http.outstanding();
    let index = kept(&http.requests);
    let Http { exchange, ahead, halves, .. } = http;
    let half = &mut halves[REQUEST as usize];
    let start = kept(&half.cursor);
    let mut version_at = POSITIONS;
    if !half.byte(start).is_ascii_uppercase() {
        return FOREIGN;
    }
    if kept(&half.first) != 0 {
        let end = if half.byte(end.wrapping_sub(1)) == b'\r' { end.wrapping_sub(1) } else { end };
        // "A / HTTP/1.1"
        if end.wrapping_sub(start) < 12 || end.wrapping_sub(start) > POSITIONS {
            return FOREIGN;
        }
        let version = half.words(end.wrapping_sub(8));
        if !names::VERSION.begins_exactly(version)
            || !half.byte(end.wrapping_sub(1)).is_ascii_digit()
            || half.byte(end.wrapping_sub(9)) != b' '
        {
            return FOREIGN;
        }
        version_at = end.wrapping_sub(8);
    }
    read_method(half, start);
    let method = kept(&half.number) as u8;
    if method > names::OTHER {
        return FOREIGN;
    }
    let target = kept(&half.cursor);
    // Behind the method's own space the version may come: then what follows the line would be the path.
    if target >= version_at {
        return FOREIGN;
    }
    let begins = half.byte(target);
    if begins != b'/' && begins != b'*' && begins | 0x20 != b'h' && method != names::CONNECT {
        return FOREIGN;
    }
    if waiting >= WAITING {
        return FOREIGN;
    }
    let bit = 1_u64 << (index & (WAITING - 1));
    let first = waiting == 0;
    let path = if first { &mut exchange.path } else { &mut ahead.path };
    copy_path(half, target, path);
    let length = kept(&half.number) as u16;
    let (length, cut) = if length > PATH_BYTES as u16 { (PATH_BYTES as u16, PATH_CUT) } else { (length, 0) };
    if first {
        exchange.started_ns = half.started_ns;
        exchange.index = index;
        exchange.method = method;
        exchange.path_length = length;
        exchange.flags = cut;
        exchange.request_ns = 0;
        exchange.request_bytes = 0;
        clear_response(exchange);
    } else {
        ahead.kind = exchange::REQUEST_AHEAD;
        ahead.index = index;
        ahead.id = exchange.id;
        ahead.started_ns = half.started_ns;
        ahead.request_bytes = 0;
        ahead.flags = cut;
        ahead.path_length = length;
        ahead.method = method;
        half.flags |= AHEAD_SENT;
    }
    mark(&mut http.sent_ahead, bit, !first);
    mark(&mut http.bodiless, bit, method == names::HEAD);
    mark(&mut http.tunnels, bit, method == names::CONNECT);
    http.exchange.in_flight = waiting + 1;
    keep(&mut http.unexpected, 0);
    http.preexisting = 0;
    keep(&mut http.requests, index.wrapping_add(1));
    MESSAGE
}

/// Sets or clears the bit of one request.
#[inline(always)]
fn mark(marks: &mut u64, bit: u64, marked: bool) {
    let others = kept(marks) & !bit;
    keep(marks, if marked { others | bit } else { others });
}

/// Makes the exchange that of the next response.
#[inline(always)]
pub fn clear_response(exchange: &mut exchange::Exchange) {
    // One by one: together they become a call of `memset`, which is a loop over bytes in BPF.
    keep(&mut exchange.response_ns, 0);
    keep(&mut exchange.event_ns, 0);
    keep(&mut exchange.last_event_ns, 0);
    keep(&mut exchange.ended_ns, 0);
    keep(&mut exchange.response_bytes, 0);
    keep(&mut exchange.received, 0);
    exchange.status = 0;
    exchange.close_code = 0;
    exchange.body = Body::Known as u8;
    exchange.outcome = exchange::Outcome::Open as u8;
    if exchange.sent != 0 {
        exchange.sent = 0;
        for count in &mut exchange.gaps {
            keep(count, 0);
        }
        keep(&mut exchange.stalls, 0);
        keep(&mut exchange.gap_sum_ns, 0);
    }
}

/// What [`Half::number`] is where no method is.
const NO_METHOD: u64 = 255;

/// Makes [`Half::number`] that of the method at `start`, or [`NO_METHOD`]; leaves [`Half::cursor`] behind it and its
/// space.
#[inline(always)]
fn read_method(half: &mut Half, start: u32) {
    const LONGEST: u32 = 20;
    keep(&mut half.number, NO_METHOD);
    let words = half.words(start);
    for (number, name) in METHODS.iter().enumerate() {
        if name.begins_exactly(words) {
            keep(&mut half.number, number as u64);
            keep(&mut half.cursor, start.wrapping_add(name.length));
            return;
        }
    }
    let mut length = 0;
    while length < LONGEST {
        let byte = half.byte(start.wrapping_add(length));
        if byte == b' ' && length > 0 {
            keep(&mut half.number, u64::from(names::OTHER));
            keep(&mut half.cursor, start.wrapping_add(length + 1));
            return;
        }
        if !byte.is_ascii_uppercase() && byte != b'-' && byte != b'_' {
            return;
        }
        length += 1;
    }
}

/// Whether the window begins like a request.
#[inline(always)]
pub fn begins_request(half: &mut Half) -> bool {
    read_method(half, DATA);
    kept(&half.number) != NO_METHOD && matches!(half.byte(kept(&half.cursor)), b'/' | b'*' | b'h')
}

/// Copies the path at `target`, up to its query; [`Half::number`] is then its length, or more if it is longer.
#[inline(always)]
fn copy_path(half: &mut Half, target: u32, path: &mut [u8; PATH_BYTES]) {
    keep(&mut half.number, PATH_BYTES as u64 + 1);
    let mut copied = 0;
    while copied < PATH_BYTES as u32 {
        let word = half.word(target.wrapping_add(copied));
        let stops = matches(word, b' ') | matches(word, b'?') | matches(word, b'#');
        let (word, rest) = if stops == 0 {
            (word, 8)
        } else {
            let rest = first(stops);
            (word & ((1_u64 << (rest * 8)) - 1), rest)
        };
        // SAFETY: `copied` is a multiple of 8 below the length of the path, which is one too.
        unsafe { path.as_mut_ptr().add(copied as usize).cast::<u64>().write_unaligned(word) };
        if stops != 0 {
            keep(&mut half.number, u64::from(copied + rest));
            return;
        }
        copied += 8;
    }
}

/// Reads the status line from [`Half::cursor`] on.
#[inline(always)]
fn status_line(http: &mut Http, end: u32) -> u32 {
    const DIGITS: u64 = 0x30_3030;
    let half = &mut http.halves[1];
    let start = kept(&half.cursor);
    // "HTTP/1.1 200"
    if end.wrapping_sub(start) < 12
        || !names::VERSION.begins_exactly(half.words(start))
        || half.byte(start.wrapping_add(8)) != b' '
    {
        return FOREIGN;
    }
    let digits = (half.word(start.wrapping_add(9)) & 0xff_ffff) ^ DIGITS;
    let (hundreds, tens, ones) = (digits & 0xff, digits >> 8 & 0xff, digits >> 16 & 0xff);
    let behind = half.byte(start.wrapping_add(12));
    let ends = is_blank(behind) || behind == b'\r' || behind == b'\n';
    if hundreds == 0 || hundreds > 9 || tens > 9 || ones > 9 || !ends {
        return FOREIGN;
    }
    half.status = (hundreds * 100 + tens * 10 + ones) as u16;
    if http.outstanding() > 0 {
        return MESSAGE;
    }
    http.answered_unseen(RESPONSE);
    UNEXPECTED
}

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

/// The head, or the trailer, has come to its end.
#[inline(always)]
fn head_ended(http: &mut Http, side: u32) {
    let half = &mut http.halves[(side & 1) as usize];
    if half.stage == Stage::Trailer as u8 {
        body::message_ended(http, side);
        return;
    }
    let head = half.head;
    if head & BAD != 0 || (head & LENGTH != 0 && head & (CHUNKED | CODED) != 0) {
        half.flags |= LOST;
        http.give_up();
        return;
    }
    if side & 1 == REQUEST { request_head_ended(http, head) } else { response_head_ended(http, head) }
}

#[inline(always)]
fn request_head_ended(http: &mut Http, head: u16) {
    let half = &mut http.halves[REQUEST as usize];
    if half.flags & AHEAD_SENT != 0 {
        half.flags &= !AHEAD_SENT;
        half.send |= SEND_AHEAD;
        if head & LENGTH != 0 {
            http.ahead.request_bytes = half.length;
        }
    }
    if head & CHUNKED != 0 {
        half.stage = Stage::ChunkSize as u8;
    } else if head & CODED != 0 {
        // RFC 9112 section 6.3: the length of such a request cannot be determined.
        half.flags |= LOST;
        http.give_up();
    } else if head & LENGTH != 0 && half.length > 0 {
        half.stage = Stage::Length as u8;
        half.remaining = half.length;
    } else {
        body::message_ended(http, REQUEST);
    }
}

/// Makes the exchange that of the next response, if its request was sent ahead.
#[inline(always)]
pub fn begin_response(http: &mut Http) {
    let responses = kept(&http.responses);
    let exchange = &mut http.exchange;
    if kept(&http.sent_ahead) & 1 << (responses & (WAITING - 1)) != 0 {
        clear_response(exchange);
        exchange.index = responses;
        exchange.flags = exchange::AHEAD;
        exchange.path_length = 0;
        exchange.request_ns = 0;
        exchange.request_bytes = 0;
    }
    exchange.flags |= http.flags;
}

/// RFC 9112 section 6.3 in its order.
#[inline(always)]
fn response_head_ended(http: &mut Http, head: u16) {
    let responses = kept(&http.responses);
    let bit = 1_u64 << (responses & (WAITING - 1));
    let half = &mut http.halves[1];
    let status = half.status;
    if status < 200 && status != 101 {
        half.stage = Stage::Start as u8;
        return;
    }
    let started_ns = half.started_ns;
    begin_response(http);
    let Http { exchange, halves, .. } = http;
    let half = &mut halves[1];
    exchange.status = status;
    exchange.response_ns = started_ns;
    if head & ENCODED != 0 {
        exchange.flags |= exchange::ENCODED;
    }
    if status == 101 && head & WEBSOCKET != 0 {
        exchange.body = Body::WebSocket as u8;
        half.stage = Stage::Frame as u8;
        http.upgraded = 1;
        return;
    }
    if status == 101 || (kept(&http.tunnels) & bit != 0 && status < 300) {
        body::message_ended(http, 1);
        http.give_up();
        return;
    }
    if kept(&http.bodiless) & bit != 0 || status == 204 || status == 304 {
        body::message_ended(http, 1);
        return;
    }
    exchange.body = if head & EVENTS != 0 {
        Body::Sse as u8
    } else if head & LINES_OF_JSON != 0 {
        Body::Ndjson as u8
    } else if head & LENGTH != 0 {
        Body::Known as u8
    } else {
        Body::Unknown as u8
    };
    if head & CHUNKED != 0 {
        half.stage = Stage::ChunkSize as u8;
    } else if head & LENGTH == 0 {
        half.stage = Stage::UntilClose as u8;
    } else if half.length == 0 {
        body::message_ended(http, 1);
    } else {
        half.stage = Stage::Length as u8;
        half.remaining = half.length;
    }
}
