//! The first line of a request or a response: method and path, or status.
//! What is not such a line is not HTTP/1.x, and nothing behind it is read.

use super::{
    fields::is_blank,
    life_cycle::{self, Begins, follows},
    names::{self, METHODS},
    state::{AHEAD_SENT, DATA, Half, Http, POSITIONS, REQUEST},
    words::{first, matches_first},
};
use crate::{
    records::exchange::{PATH_BYTES, REQUEST_AHEAD},
    volatile::{set_volatile, volatile},
};

/// Of a first line: it is that of a message.
pub const MESSAGE: u32 = 0;
/// Of a first line: nothing behind it is followed any more.
pub const STOPS: u32 = 1;
/// Of a first line: it is not of HTTP/1.x.
pub const FOREIGN: u32 = 2;

/// Reads the first line, which ends at `end`: [`MESSAGE`], [`STOPS`] or [`FOREIGN`]. By a call: a verifier need not follow the
/// rest of a head once for each way that a line may be wrong.
#[inline(always)]
pub fn first_line(http: &mut Http, side: u32, end: u32) -> u32 {
    if side & 1 == REQUEST { request_line(http, end) } else { status_line(http, end) }
}

/// Reads the request line from [`Half::cursor`] to the newline at `end`, or as much as there is of a longer one.
#[inline(always)]
fn request_line(http: &mut Http, end: u32) -> u32 {
    let half = &mut http.halves[REQUEST as usize];
    let start = volatile(&half.cursor);
    let mut version_at = POSITIONS;
    if !half.byte(start).is_ascii_uppercase() {
        return FOREIGN;
    }
    if volatile(&half.first) != 0 {
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
    let method = volatile(&half.number) as u8;
    if method > names::OTHER {
        return FOREIGN;
    }
    let target = volatile(&half.cursor);
    // Behind the method's own space the version may come: then what follows the line would be the path.
    if target >= version_at {
        return FOREIGN;
    }
    let begins = half.byte(target);
    if begins != b'/' && begins != b'*' && begins | 0x20 != b'h' && method != names::CONNECT {
        return FOREIGN;
    }
    let index = volatile(&http.requests);
    let begins = life_cycle::request_begins(http);
    if matches!(begins, Begins::Lost) {
        // Its end is to be found all the same, where others that follow it are to be counted.
        http.ahead.kind = 0;
        return if http.requests_follow == follows::NONE { STOPS } else { MESSAGE };
    }
    let first = matches!(begins, Begins::First);
    let Http { exchange, ahead, halves, .. } = http;
    let half = &mut halves[REQUEST as usize];
    let path = if first { &mut exchange.path } else { &mut ahead.path };
    copy_path(half, target, path);
    let length = volatile(&half.number) as u16;
    let length = if length > PATH_BYTES as u16 { PATH_BYTES as u16 } else { length };
    if first {
        exchange.started_ns = half.started_ns;
        exchange.index = index;
        exchange.method = method;
        exchange.path_length = length;
        set_volatile(&mut exchange.request_ns, 0);
        set_volatile(&mut exchange.request_bytes, 0);
        exchange.received = 0;
    } else {
        ahead.kind = REQUEST_AHEAD;
        ahead.index = index;
        ahead.id = exchange.id;
        ahead.started_ns = half.started_ns;
        ahead.request_bytes = 0;
        ahead.path_length = length;
        ahead.method = method;
        half.flags |= AHEAD_SENT;
    }
    life_cycle::request_began(http, index, !first, method == names::HEAD, method == names::CONNECT);
    MESSAGE
}

/// Letters of the longest method that is looked for.
const LONGEST_METHOD: u32 = 20;
/// What [`Half::number`] is where no method is.
const NO_METHOD: u64 = 255;

/// Makes [`Half::number`] that of the method at `start`, or [`NO_METHOD`]; leaves [`Half::cursor`] behind it and its
/// space.
#[inline(always)]
fn read_method(half: &mut Half, start: u32) {
    set_volatile(&mut half.number, NO_METHOD);
    let words = half.words(start);
    for (number, name) in METHODS.iter().enumerate() {
        if name.begins_exactly(words) {
            set_volatile(&mut half.number, number as u64);
            set_volatile(&mut half.cursor, start.wrapping_add(name.length));
            return;
        }
    }
    let mut length = 0;
    while length < LONGEST_METHOD {
        let byte = half.byte(start.wrapping_add(length));
        if byte == b' ' && length > 0 {
            set_volatile(&mut half.number, u64::from(names::OTHER));
            set_volatile(&mut half.cursor, start.wrapping_add(length + 1));
            return;
        }
        if !byte.is_ascii_uppercase() && byte != b'-' && byte != b'_' {
            return;
        }
        length += 1;
    }
}

/// Whether bytes begin a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// There are too few of them.
    Undecided,
    /// They do.
    Yes,
    /// They do not.
    No,
}

/// Tells whether the window, filled up to `filled`, begins a request: by one of the registered methods, or with `any` by what may
/// be one.
#[inline(always)]
pub(super) fn may_begin_request(half: &mut Half, filled: u32, any: bool) -> Beginning {
    read_method(half, DATA);
    let (method, behind) = (volatile(&half.number), volatile(&half.cursor));
    if method < u64::from(names::OTHER) || (any && method == u64::from(names::OTHER)) {
        if behind >= filled {
            return Beginning::Undecided;
        }
        let begins = matches!(half.byte(behind), b'/' | b'*' | b'h');
        return if begins { Beginning::Yes } else { Beginning::No };
    }
    let present = filled - DATA;
    if method == NO_METHOD && any {
        // Letters up to the end of what is at hand; behind it stands a zero.
        let mut letters = 0;
        while letters < LONGEST_METHOD {
            if letters >= present || !half.byte(DATA + letters).is_ascii_uppercase() {
                break;
            }
            letters += 1;
        }
        return if letters == present { Beginning::Undecided } else { Beginning::No };
    }
    let start = half.word(DATA);
    let mask = (1_u64 << ((present & 7) * 8)) - 1;
    let mut begins = Beginning::No;
    for name in &METHODS {
        if present < name.length && (start ^ name.first_word()) & mask == 0 {
            begins = Beginning::Undecided;
        }
    }
    begins
}

/// Tells likewise whether it begins a response.
#[inline(always)]
pub(super) fn may_begin_response(half: &mut Half, filled: u32) -> Beginning {
    let present = filled - DATA;
    if present >= names::VERSION.length {
        return if names::VERSION.begins_exactly(half.words(DATA)) { Beginning::Yes } else { Beginning::No };
    }
    let mask = (1_u64 << ((present & 7) * 8)) - 1;
    let same = (half.word(DATA) ^ names::VERSION.first_word()) & mask == 0;
    if same { Beginning::Undecided } else { Beginning::No }
}

/// Copies the path at `target`, up to its query; [`Half::number`] is then its length, or more if it is longer.
#[inline(always)]
fn copy_path(half: &mut Half, target: u32, path: &mut [u8; PATH_BYTES]) {
    set_volatile(&mut half.number, PATH_BYTES as u64 + 1);
    let mut copied = 0;
    while copied < PATH_BYTES as u32 {
        let word = half.word(target.wrapping_add(copied));
        let stops = matches_first(word, b' ') | matches_first(word, b'?') | matches_first(word, b'#');
        let (word, rest) = if stops == 0 {
            (word, 8)
        } else {
            let rest = first(stops);
            (word & ((1_u64 << (rest * 8)) - 1), rest)
        };
        // SAFETY: `copied` is a multiple of 8 below the length of the path, which is one too.
        unsafe { path.as_mut_ptr().add(copied as usize).cast::<u64>().write_unaligned(word) };
        if stops != 0 {
            set_volatile(&mut half.number, u64::from(copied + rest));
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
    let start = volatile(&half.cursor);
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
    life_cycle::response_comes(http);
    MESSAGE
}
