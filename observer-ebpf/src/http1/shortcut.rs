//! The shortcut of streams: a segment that is one whole chunk, or message of a WebSocket, and comes in order.
//! Its counts wait in the first cache line of the connection's state until the framer has something to do there.

use super::{
    events::{self, gap_bucket},
    names::HEARTBEATS,
    state::{Half, Http, RESPONSE, Stage},
    words::matches,
};
use crate::{
    records::{
        exchange::{Body, Outcome},
        histogram::GAP_BUCKETS,
    },
    volatile::{set_volatile, volatile},
};

/// Bytes of a segment that [`take`] looks at: a size line, and of the data what tells an event.
pub const START: usize = 64;
/// Words of them.
pub const WORDS: usize = START / 8;
/// The longest size line: with more digits the beginning of the data may not be at hand.
const DIGITS: u32 = 5;
/// Bytes at the end of a segment that [`take`] looks at: the end of an event, and the line break behind the chunk.
pub const END: u32 = 6;

/// In [`Shortcut::open`]: the next segment is the framer's.
pub const CLOSED: u8 = 0;
/// In [`Shortcut::open`]: each chunk is an event.
pub const CHUNKS: u8 = 1;
/// In [`Shortcut::open`]: chunks of server-sent events, of which each is to hold data and end an event.
pub const EVENTS: u8 = 2;
/// In [`Shortcut::open`]: messages of a WebSocket.
pub const MESSAGES: u8 = 3;
/// In [`Shortcut::open`]: chunks of lines of JSON, of which none is to begin with a blank.
pub const LINES: u8 = 4;

/// What passed by the shortcut since the framer had a segment last; and marks that each response reads, because this line is
/// not written with each exchange.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Shortcut {
    /// The last event.
    pub last_event_ns: u64,
    /// Sum of the gaps.
    pub gap_sum_ns: u64,
    /// The sequence number of the next byte.
    pub next: u32,
    /// Bytes of chunks or messages.
    pub bytes: u32,
    /// Gaps by bucket: one for each event.
    pub gaps: [u8; GAP_BUCKETS],
    /// [`CLOSED`] and others.
    pub open: u8,
    /// 1 where what is known of the latest request is not certain.
    pub void_request: u8,
    /// By half, 1 where a segment could not be taken, see [`crate::flow::claim`].
    pub missed: [u8; 2],
    /// Padding, always zero.
    pub padding: [u8; 3],
}

const _: () = assert!(size_of::<Shortcut>() == 48);

/// The bytes of a segment that tell whether it goes by the shortcut.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Its first bytes, with zeros behind its end.
    pub start: [u64; WORDS],
    /// Its last [`END`] bytes, the last one in the highest place that is used; zero where they are not looked at.
    pub end: u64,
    /// All of them.
    pub length: u32,
}

/// Tells whether the end of a segment is looked at.
#[inline(always)]
pub const fn looks_at_end(open: u8, length: u32) -> bool {
    open == EVENTS && length > END
}

/// Takes a segment; false if it is the framer's. The shortcut is open and the segment is the next.
#[inline(always)]
pub fn take(shortcut: &mut Shortcut, segment: &Segment, now_ns: u64, stall_ns: u64) -> bool {
    let bytes = if shortcut.open == MESSAGES {
        whole_message(segment.start[0], segment.length)
    } else {
        whole_chunk(segment, shortcut.open)
    };
    let gap_ns = now_ns.wrapping_sub(shortcut.last_event_ns);
    // A stall is the framer's, as is a clock that went backwards between two CPUs.
    if bytes == 0 || gap_ns > stall_ns || shortcut.bytes >> 29 != 0 {
        return false;
    }
    let Some(count) = shortcut.gaps.get_mut(gap_bucket(gap_ns)) else { return false };
    if *count == u8::MAX {
        return false;
    }
    *count += 1;
    shortcut.gap_sum_ns += gap_ns;
    shortcut.last_event_ns = now_ns;
    shortcut.bytes += bytes;
    shortcut.next = shortcut.next.wrapping_add(segment.length);
    true
}

/// The size of the chunk that a segment is, or 0 if it is something else or may be no event.
#[inline(always)]
fn whole_chunk(segment: &Segment, open: u8) -> u32 {
    const LINE_BREAK: u64 = 0x0a0d;
    let (mut size, mut digits) = (0_u32, 0_u32);
    let mut rest = segment.start[0];
    while digits < DIGITS {
        let byte = (rest & 0xff) as u32;
        let (decimal, letter) = (byte.wrapping_sub(0x30), (byte | 0x20).wrapping_sub(0x61));
        if decimal <= 9 {
            size = size << 4 | decimal;
        } else if letter <= 5 {
            size = size << 4 | (letter + 10);
        } else {
            break;
        }
        rest >>= 8;
        digits += 1;
    }
    if digits == 0 || size == 0 || rest & 0xffff != LINE_BREAK || digits + 2 + size + 2 != segment.length {
        return 0;
    }
    let first = (rest >> 16) as u8;
    let is_event = match open {
        EVENTS => is_event(segment, digits + 2),
        LINES => !matches!(first, b'\n' | b'\r' | b' '),
        _ => true,
    };
    if is_event { size } else { 0 }
}

/// Tells whether the data at `offset`, at most [`DIGITS`] and 2, is an event for certain, and the next data begins another.
#[inline(always)]
fn is_event(segment: &Segment, offset: u32) -> bool {
    const FIELD: u64 = u64::from_le_bytes(*b"data:\0\0\0");
    const FIELD_MASK: u64 = 0xff_ffff_ffff;
    // Behind the data stand CR and LF.
    let end = segment.end;
    let (last, before, third) = ((end >> 24) as u8, (end >> 16) as u8, (end >> 8) as u8);
    let ends = (last == b'\n' && before == b'\n')
        || (last == b'\n' && before == b'\r' && third == b'\n')
        || (last == b'\r' && before == b'\r');
    if !ends {
        return false;
    }
    let (right, left) = (offset * 8, 64 - offset * 8);
    let start = &segment.start;
    let data = [
        start[0] >> right | start[1] << left,
        start[1] >> right | start[2] << left,
        start[2] >> right | start[3] << left,
    ];
    if HEARTBEATS.iter().any(|heartbeat| heartbeat.begins(data)) {
        return false;
    }
    if data[0] & FIELD_MASK == FIELD {
        return true;
    }
    // Other fields may stand before it; each line of data begins behind a break.
    if !matches!(data[0] as u8, b'i' | b'e') {
        return false;
    }
    let mut word = 1;
    while word + 1 < WORDS {
        let (here, next) = (start[word], start[word + 1]);
        let feeds = matches(start[word - 1] >> 56 | here << 8, b'\n') & matches(here, b'd');
        if feeds != 0 {
            let at = super::words::first(feeds) * 8;
            let found = if at == 0 { here } else { here >> at | next << (64 - at) };
            if found & FIELD_MASK == FIELD {
                return true;
            }
        }
        word += 1;
    }
    false
}

/// The size of the message that a segment of `length` bytes is, or 0 if it is something else (RFC 6455 section 5.2).
#[inline(always)]
fn whole_message(start: u64, length: u32) -> u32 {
    /// The last frame of a message, and no reserved bits but that of compression (RFC 7692).
    const LAST: u64 = 0x80;
    let (kind, short) = (start & 0xff, (start >> 8 & 0xff) as u32);
    let opcode = kind & 0xf;
    if kind & 0xb0 != LAST || opcode == 0 || opcode > 2 {
        return 0;
    }
    let (header, bytes) = match short {
        126 => (4, ((start >> 16 & 0xff) << 8 | start >> 24 & 0xff) as u32),
        // One that is longer, masked or empty.
        127.. | 0 => return 0,
        _ => (2, short),
    };
    if bytes != 0 && header + bytes == length { bytes } else { 0 }
}

/// Gives the framer what passed by the shortcut, and closes it; true, with the sequence number that it has come to, if it
/// was open.
#[inline(always)]
pub fn settle(http: &mut Http) -> Option<u32> {
    if http.shortcut.open == CLOSED {
        return None;
    }
    let Http { shortcut, exchange, .. } = http;
    shortcut.open = CLOSED;
    exchange.last_event_ns = shortcut.last_event_ns;
    // A walk reads the exchange first: it may miss what is between the two, and never has it twice.
    let bytes = volatile(&shortcut.bytes);
    set_volatile(&mut shortcut.bytes, 0);
    exchange.response_bytes += u64::from(bytes);
    let sum = volatile(&shortcut.gap_sum_ns);
    set_volatile(&mut shortcut.gap_sum_ns, 0);
    exchange.gap_sum_ns += sum;
    let mut index = 0;
    while index < GAP_BUCKETS {
        let count = u32::from(volatile(&shortcut.gaps[index]));
        set_volatile(&mut shortcut.gaps[index], 0);
        exchange.gaps[index] += count;
        exchange.sent += count;
        index += 1;
    }
    Some(shortcut.next)
}

/// Opens the shortcut where the framer stands between two chunks, or messages, of a stream that had its first event; `next` is
/// the sequence number of the byte behind them.
#[inline(always)]
pub fn open(http: &mut Http, next: u32) {
    let looks = events::are_looked_for(http, RESPONSE);
    let Http { shortcut, exchange, halves, .. } = http;
    let half: &Half = &halves[RESPONSE as usize];
    let between = half.stage == Stage::ChunkSize as u8 || half.stage == Stage::Frame as u8;
    if !between
        || half.carried != 0
        || half.flags != 0
        || exchange.event_ns == 0
        || exchange.outcome != Outcome::Open as u8
    {
        return;
    }
    let is_sse = looks && exchange.body == Body::Sse as u8;
    if is_sse && half.field != events::field::EVENT {
        return;
    }
    shortcut.last_event_ns = exchange.last_event_ns;
    shortcut.next = next;
    shortcut.open = if half.stage == Stage::Frame as u8 {
        MESSAGES
    } else if is_sse {
        EVENTS
    } else if looks {
        LINES
    } else {
        CHUNKS
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(bytes: &[u8]) -> Segment {
        let mut start = [0; START];
        let length = bytes.len().min(START);
        start[..length].copy_from_slice(&bytes[..length]);
        let start = core::array::from_fn(|index| {
            u64::from_le_bytes(start[index * 8..index * 8 + 8].try_into().unwrap())
        });
        let mut end = [0; 8];
        if let Some(last) = bytes.last_chunk::<{ END as usize }>() {
            end[..END as usize].copy_from_slice(last);
        }
        Segment { start, end: u64::from_le_bytes(end), length: u32::try_from(bytes.len()).unwrap() }
    }

    fn chunk(bytes: &[u8]) -> u32 {
        whole_chunk(&segment(bytes), EVENTS)
    }

    fn message(bytes: &[u8]) -> u32 {
        let segment = segment(bytes);
        whole_message(segment.start[0], segment.length)
    }

    #[test]
    fn a_whole_chunk_is_taken_by_its_size() {
        assert_eq!(chunk(b"9\r\ndata: x\n\n\r\n"), 9);
        assert_eq!(chunk(b"A\r\ndata: xy\n\n\r\n"), 10);
        assert_eq!(chunk(b"0000b\r\ndata: x\r\n\r\n\r\n"), 11);
        assert_eq!(chunk(b"9\r\ndata: x\r\r\r\n"), 9);
        let long = [b"fFf\r\ndata: ".as_slice(), &[b'd'; 0xfff - 8], b"\n\n\r\n"].concat();
        assert_eq!(chunk(&long), 0xfff);
        assert_eq!(whole_chunk(&segment(b"3\r\n\n\n\n\r\n"), CHUNKS), 3);
        assert_eq!(whole_chunk(&segment(b"3\r\n{}\n\r\n"), LINES), 3);
        assert_eq!(whole_chunk(&segment(b"1\r\n\n\r\n"), LINES), 0);
    }

    #[test]
    fn data_behind_other_fields_is_found() {
        assert_eq!(chunk(b"1b\r\nid: 1\nevent: text\ndata: 2\n\n\r\n"), 27);
        assert_eq!(chunk(b"13\r\nevent: a\ndata: {}\n\n\r\n"), 19);
        assert_eq!(chunk(b"13\r\nid: 1\nevent: dat\n\n\n\r\n"), 0);
        assert_eq!(chunk(b"c\r\nid: 12345\n\n\n\r\n"), 0);
    }

    #[test]
    fn what_is_no_whole_chunk_is_left_to_the_framer() {
        for bytes in [
            b"9\r\ndata: x\n\n".as_slice(),
            b"9\r\ndata: x\n\n\r\n0\r\n\r\n",
            b"9;a=b\r\ndata: x\n\n\r\n",
            b"9\ndata: x\n\n\r\n",
            b"0\r\n\r\n",
            b"00000009\r\ndata: x\n\n\r\n",
            b"\r\n9\r\ndata: x\n\n",
            b"g\r\ndata: x\n\n\r\n",
            b"8\r\ndata: x\n\r\n",
            b"9\r\ndata: xyz\r\n",
            b"",
        ] {
            assert_eq!(chunk(bytes), 0, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn what_may_be_no_event_is_left_to_the_framer() {
        assert_eq!(chunk(b"2\r\n:\n\r\n"), 0);
        assert_eq!(chunk(b"1\r\n\n\r\n"), 0);
        assert_eq!(chunk(b"d\r\nevent: ping\n\n\r\n"), 0);
        assert_eq!(chunk(b"1e\r\nevent: ping\ndata: {\"a\": \"b\"}\n\n\r\n"), 0);
        let heartbeat = b"1c\r\ndata: {\"type\":\"heartbeat\"}\n\n\r\n";
        assert_eq!(chunk(heartbeat), 0);
        assert_eq!(whole_chunk(&segment(heartbeat), CHUNKS), 28);
    }

    #[test]
    fn a_whole_message_is_taken_by_its_length() {
        assert_eq!(message(b"\x81\x05hello"), 5);
        assert_eq!(message(b"\xc2\x05hello"), 5);
        let long = [b"\x82\x7e\x01\x02".as_slice(), &[0; 0x102]].concat();
        assert_eq!(message(&long), 0x102);
        for other in [
            b"\x01\x05hello".as_slice(),
            b"\x80\x05hello",
            b"\x89\x05hello",
            b"\x88\x02\x03\xe8",
            b"\x81\x85maskhello",
            b"\x81\x05hell",
            b"\x81\x05hello\x81",
            b"\x81\x00",
            b"\xa1\x05hello",
            b"",
        ] {
            assert_eq!(message(other), 0, "{:?}", other.escape_ascii().to_string());
        }
    }
}
