//! The shortcut of streams: a segment that is one whole chunk, or message of a WebSocket, and comes in order.
//! Its counts wait in the first cache line of the connection's state until the framer has something to do there.

use super::{
    events::{GAP_BUCKETS, gap_bucket},
    exchange::{Body, ENCODED, Outcome},
    names::HEARTBEATS,
    state::{Half, Http, RESPONSE, Stage, keep, kept},
};

/// Bytes of a segment that [`take`] looks at: a size line and the longest of [`HEARTBEATS`].
pub const START: usize = 32;
/// The longest size line: with more digits the beginning of the data may not be at hand.
const DIGITS: u32 = 5;

/// In [`Shortcut::open`]: the next segment is the framer's.
pub const CLOSED: u8 = 0;
/// In [`Shortcut::open`]: each chunk is an event.
pub const CHUNKS: u8 = 1;
/// In [`Shortcut::open`]: chunks are events but for heartbeats.
pub const EVENTS: u8 = 2;
/// In [`Shortcut::open`]: messages of a WebSocket.
pub const MESSAGES: u8 = 3;

/// What passed by the shortcut since the framer had a segment last.
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
}

/// Takes a segment of `length` bytes, in which `start` stands first, with zeros behind its end; false if
/// it is the framer's. The shortcut is open and the segment is the next.
#[inline(always)]
pub fn take(
    shortcut: &mut Shortcut,
    start: [u64; START / 8],
    length: u32,
    now_ns: u64,
    stall_ns: u64,
) -> bool {
    let bytes = if shortcut.open == MESSAGES {
        whole_message(start[0], length)
    } else {
        whole_chunk(start, length, shortcut.open == EVENTS)
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
    shortcut.next = shortcut.next.wrapping_add(length);
    true
}

/// The size of the chunk that a segment of `length` bytes is, or 0 if it is something else or may be a heartbeat.
#[inline(always)]
fn whole_chunk(start: [u64; START / 8], length: u32, looks: bool) -> u32 {
    const LINE_BREAK: u64 = 0x0a0d;
    let (mut size, mut digits) = (0_u32, 0_u32);
    let mut rest = start[0];
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
    if digits == 0 || size == 0 || rest & 0xffff != LINE_BREAK || digits + 2 + size + 2 != length {
        return 0;
    }
    if looks {
        let first = (rest >> 16) as u8;
        let silent = first == b':' || first == b'\n' || first == b'\r';
        if silent || (matches!(first, b'd' | b'e') && is_heartbeat(start, digits + 2)) {
            return 0;
        }
    }
    size
}

/// Whether the data at `offset`, at most [`DIGITS`] and 2, begins like a heartbeat.
#[inline(always)]
fn is_heartbeat(start: [u64; START / 8], offset: u32) -> bool {
    let (right, left) = (offset * 8, 64 - offset * 8);
    let data = [
        start[0] >> right | start[1] << left,
        start[1] >> right | start[2] << left,
        start[2] >> right | start[3] << left,
    ];
    HEARTBEATS.iter().any(|heartbeat| heartbeat.begins(data))
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

/// Gives the framer what passed by the shortcut, and closes it.
#[inline(always)]
pub fn settle(http: &mut Http) {
    if http.shortcut.open == CLOSED {
        return;
    }
    let Http { shortcut, exchange, halves, .. } = http;
    shortcut.open = CLOSED;
    halves[RESPONSE as usize].next = shortcut.next;
    exchange.last_event_ns = shortcut.last_event_ns;
    // A walk reads the exchange first: it may miss what is between the two, and never has it twice.
    let bytes = kept(&shortcut.bytes);
    keep(&mut shortcut.bytes, 0);
    exchange.response_bytes += u64::from(bytes);
    let sum = kept(&shortcut.gap_sum_ns);
    keep(&mut shortcut.gap_sum_ns, 0);
    exchange.gap_sum_ns += sum;
    let mut index = 0;
    while index < GAP_BUCKETS {
        let count = u32::from(kept(&shortcut.gaps[index]));
        keep(&mut shortcut.gaps[index], 0);
        exchange.gaps[index] += count;
        exchange.sent += count;
        index += 1;
    }
}

/// Opens the shortcut where the framer stands between two chunks, or messages, of a stream that had its first event.
#[inline(always)]
pub fn open(http: &mut Http) {
    let Http { shortcut, exchange, halves, .. } = http;
    let half: &Half = &halves[RESPONSE as usize];
    let between = half.stage == Stage::ChunkSize as u8 || half.stage == Stage::Frame as u8;
    if !between
        || half.carried != 0
        || half.flags != 0
        || half.waiting != 0
        || exchange.event_ns == 0
        || exchange.outcome != Outcome::Open as u8
    {
        return;
    }
    shortcut.last_event_ns = exchange.last_event_ns;
    shortcut.next = half.next;
    let body = exchange.body;
    let looks = (body == Body::Sse as u8 || body == Body::Ndjson as u8) && exchange.flags & ENCODED == 0;
    shortcut.open = if half.stage == Stage::Frame as u8 {
        MESSAGES
    } else if looks {
        EVENTS
    } else {
        CHUNKS
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(bytes: &[u8]) -> [u64; START / 8] {
        let mut start = [0; START];
        let length = bytes.len().min(START);
        start[..length].copy_from_slice(&bytes[..length]);
        core::array::from_fn(|index| u64::from_le_bytes(start[index * 8..index * 8 + 8].try_into().unwrap()))
    }

    fn chunk(bytes: &[u8]) -> u32 {
        whole_chunk(start(bytes), u32::try_from(bytes.len()).unwrap(), true)
    }

    fn message(bytes: &[u8]) -> u32 {
        whole_message(start(bytes)[0], u32::try_from(bytes.len()).unwrap())
    }

    #[test]
    fn a_whole_chunk_is_taken_by_its_size() {
        assert_eq!(chunk(b"9\r\ndata: x\n\n\r\n"), 9);
        assert_eq!(chunk(b"A\r\ndata: xy\n\n\r\n"), 10);
        assert_eq!(chunk(b"0000f\r\ndata: heartbeat\r\n"), 15);
        let long = [b"fFf\r\n".as_slice(), &[b'd'; 0xfff], b"\r\n"].concat();
        assert_eq!(chunk(&long), 0xfff);
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
            b"",
        ] {
            assert_eq!(chunk(bytes), 0, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn heartbeats_are_left_to_the_framer() {
        assert_eq!(chunk(b"2\r\n:\n\r\n"), 0);
        assert_eq!(chunk(b"1\r\n\n\r\n"), 0);
        assert_eq!(chunk(b"d\r\nevent: ping\n\n\r\n"), 0);
        assert_eq!(chunk(b"0000d\r\nevent: ping\n\n\r\n"), 0);
        assert_eq!(chunk(b"d\r\nevent: pine\n\n\r\n"), 13);
        let heartbeat = b"001b\r\ndata: {\"type\":\"heartbeat\"}\n\r\n";
        assert_eq!(chunk(heartbeat), 0);
        assert_eq!(whole_chunk(start(heartbeat), u32::try_from(heartbeat.len()).unwrap(), false), 27);
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
