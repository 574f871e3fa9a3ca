//! What is kept of a connection's HTTP: the exchange under way, and for each direction where framing stands.
//! Knows layout and cache lines; each direction writes only its own half, and `life_cycle` what concerns both.

use super::{shortcut::Shortcut, words::TEXT_BYTES};
pub use crate::framer::{REQUEST, RESPONSE};
use crate::{
    records::{
        exchange::{Exchange, RequestAhead},
        l7::Protocol,
    },
    volatile::volatile,
};

/// Where a window's bytes begin: the word before them holds the newline that ended the line before.
pub const DATA: u32 = 8;
/// The longest beginning of an unfinished line that is carried to the next segment.
pub const CARRY: u32 = 247;
/// The most bytes that are loaded at once.
pub const LOAD: u32 = 256;
/// Positions in a window, all of them below the mask's next power of two.
pub const POSITIONS: u32 = DATA + CARRY + LOAD + 1;
const _: () = assert!(POSITIONS == 512);
/// A window's size: three words may be read from its last position.
pub const WINDOW: usize = POSITIONS as usize + 24;

/// Lines of a window that may be of a field in [`super::names::FIELDS`].
pub const LINES: usize = 8;
/// What brings a [`Half`] to the end of a cache line.
const WINDOW_PADDING: usize = 32;
/// Requests that may wait for their answers.
pub const WAITING: u32 = 1024;
/// Words of marks of waiting requests.
pub const MARKS: usize = WAITING as usize / 64;

/// Where framing stands in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Before a message's first line, or in it.
    Start = 0,
    /// In the lines of the head.
    Head = 1,
    /// In a body, [`Half::remaining`] bytes before its end.
    Length = 2,
    /// In the line that tells the next chunk's size.
    ChunkSize = 3,
    /// In a chunk, [`Half::remaining`] bytes before its end.
    Chunk = 4,
    /// In the line break after a chunk.
    ChunkEnd = 5,
    /// In the lines after the last chunk.
    Trailer = 6,
    /// In a body that ends with the connection.
    UntilClose = 7,
    /// In the header of a WebSocket frame.
    Frame = 8,
    /// In the payload of a WebSocket frame, [`Half::remaining`] bytes before its end.
    Payload = 9,
    /// Where nothing is known; a segment that begins like a message is the next one.
    Resync = 10,
    /// In what is not HTTP, to the end of the connection.
    Opaque = 11,
    /// In a WebSocket behind its close frame.
    Frameless = 12,
}

/// In [`Half::head`]: the body is chunked.
pub const CHUNKED: u16 = 1;
/// In [`Half::head`]: [`Half::length`] is the body's length.
pub const LENGTH: u16 = 2;
/// In [`Half::head`]: the length cannot be known for certain (RFC 9112 section 11.2, request smuggling).
pub const BAD: u16 = 4;
/// In [`Half::head`]: the body is of server-sent events.
pub const EVENTS: u16 = 8;
/// In [`Half::head`]: the body is of lines of JSON.
pub const LINES_OF_JSON: u16 = 16;
/// In [`Half::head`]: the body is compressed.
pub const ENCODED: u16 = 32;
/// In [`Half::head`]: it becomes a WebSocket.
pub const WEBSOCKET: u16 = 64;
/// In [`Half::head`]: a transfer coding other than chunked is the last.
pub const CODED: u16 = 128;

/// In [`Half::head`]: the client waits for `100 Continue`.
pub const EXPECTED: u16 = 256;

/// In [`Half::flags`]: the line at hand began too far back to be kept; its end is all that is of interest.
pub const SKIPPING: u16 = 1;
/// In [`Half::flags`]: the chunk at hand, or the segment of an unchunked body, was not found to be an event yet.
pub const LOOKING: u16 = 2;
/// In [`Half::flags`]: what was taken up in its middle has not yet proved to be what it seems.
pub const ADOPTING: u16 = 4;
/// In [`Half::flags`]: a close frame passed.
pub const CLOSING: u16 = 8;
/// In [`Half::flags`]: the last byte at hand ended a line that framing depends on; the next must not continue it.
pub const FRAMING_LINE: u16 = 16;
/// In [`Half::flags`]: how the event at hand ends is to be seen at the end of its chunk.
pub const TAIL: u16 = 32;
/// In [`Half::flags`]: the request whose head is at hand is to be sent ahead.
pub const AHEAD_SENT: u16 = 64;
/// In [`Half::flags`]: chunks are read to see whether they end with their segment, and not counted.
pub const GUESSING: u16 = 128;
/// In [`Half::flags`]: chunks ahead of a hole are counted; the end of their message waits for the hole.
pub const COUNTING_GUESS: u16 = 256;
/// In [`Half::flags`]: the response at hand is nobody's: no request waits for it.
pub const NOBODYS: u16 = 512;
/// In [`Half::flags`]: in place of the body at hand the next message may come. A client that waits for `100 Continue` may leave
/// its body out (RFC 9110 section 10.1.1), and the response that is nobody's may be one to HEAD.
pub const EXPECTING: u16 = 1024;

/// In [`Half::send`]: the exchange is to be sent and ended.
pub const SEND_EXCHANGE: u8 = 1;
/// In [`Half::send`]: the request that came ahead is to be sent.
pub const SEND_AHEAD: u8 = 2;

/// One direction of a connection.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Half {
    /// Bytes before the end of the body, chunk or payload at hand.
    pub remaining: u64,
    /// The body's length as its head tells it.
    pub length: u64,
    /// The clock at the segment at hand; monotonic kernel clock, nanoseconds.
    pub now_ns: u64,
    /// When the message's first byte came.
    pub started_ns: u64,
    /// A number that is being read; in memory so that the verifier takes all of its values for one.
    pub number: u64,
    /// Bytes of an unfinished line, at [`DATA`] of the window.
    pub carried: u32,
    /// [`CHUNKED`] and others, of the head at hand.
    pub head: u16,
    /// The opcode of the WebSocket frame at hand and its bit FIN.
    pub frame: u8,
    /// [`Stage`].
    pub stage: u8,
    /// The status of the response whose head is at hand.
    pub status: u16,
    /// [`SKIPPING`] and others.
    pub flags: u16,
    /// [`SEND_EXCHANGE`], [`SEND_AHEAD`].
    pub send: u8,
    /// Where the events of the body stand ([`super::events::field`]).
    pub field: u8,
    /// 1 where no byte of the body at hand has come.
    pub untouched: u8,
    /// Padding, always zero.
    pub padding: u8,
    /// Exchanges that are lost and not counted yet.
    pub lost: u32,
    /// Padding to the end of the line.
    pub padding_of_lost: u32,
    /// Where the line at hand begins in the window, 0 where it is skipped. In memory as `number` is.
    pub line: u32,
    /// Where the first line ends, 0 while it has not. In memory as `number` is.
    pub first: u32,
    /// Position of what is being read. In memory as `number` is.
    pub cursor: u32,
    /// Behind the empty line that ends the head, 0 while there is none. In memory as `number` is.
    pub end: u32,
    /// Where a field's value begins. In memory as `number` is.
    pub value: u32,
    /// Where the bytes in the window end. In memory as `number` is.
    pub filled: u32,
    /// How many of `lines` are in use, or would be.
    pub count: u32,
    /// Lines of the window to be read: beginning, end in the upper half, and [`super::head::FOLDED`].
    pub lines: [u32; LINES],
    /// Which of [`super::names::FIELDS`] the line at hand is, and one more; 0 if it is none. In memory as `number` is.
    pub found: u32,
    /// Where a media type ends. In memory as `number` is.
    pub end_of_type: u32,
    /// Padding, always zero.
    pub padding_of_type: u32,
    /// The bytes at hand.
    pub window: [u8; WINDOW],
    /// Padding to the end of the cache line.
    pub padding_of_window: [u8; WINDOW_PADDING],
}

/// [`Exchange::index`] before the first request.
pub const NO_REQUEST: u32 = u32::MAX;

/// What the storage of a socket holds before its value on the value's first cache line: a pointer
/// (`struct bpf_local_storage_data`, `include/linux/bpf_local_storage.h`).
pub const STORAGE_HEADER: usize = 8;

/// A connection's HTTP. The two directions of a connection are often on two CPUs, so what one of them writes has cache
/// lines of its own: a look-up of the storage reads the first line, and waited for the other CPU with each packet when
/// that was one of those.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Http {
    /// What passed without the framer.
    pub shortcut: Shortcut,
    /// The target's number and the role that it has, as [`crate::flow::followed::owner`] puts them together.
    pub owner: u32,
    /// When a segment last went the long way, in units of 2^20 ns; nobody minds that it repeats after 19 hours.
    pub long_way: u16,
    /// 1 while a CPU has the half of the responses, where that is received: see [`crate::flow::claim`].
    pub response_claim: u8,
    /// The connection became a WebSocket. The first line ends here.
    pub upgraded: u8,
    /// Requests seen. Only the request half changes it.
    pub requests: u32,
    /// [`super::life_cycle::follows`] of the request half.
    pub requests_follow: u8,
    /// 1 once a request began before the one before it was answered.
    pub pipelined: u8,
    /// 1 where bytes of the client were passed over that may be requests.
    pub hidden: u8,
    /// 1 while a CPU has the half of the requests, where that is received.
    pub request_claim: u8,
    /// When the client sent its FIN, 0 while it has not.
    pub client_closed_ns: u64,
    /// Bytes of the response's body when the client sent its FIN; all ones where the response had not begun.
    pub client_closed_at: u64,
    /// [`Http::answers`] when the last of those bytes came.
    pub answers_before: u32,
    /// 1 once a request began while the answer to the one before it was looked for.
    pub unsure: u8,
    /// Padding to the end of the line.
    pub padding_of_requests: [u8; 35],
    /// Responses ended. Only the response half changes it.
    pub responses: u32,
    /// Responses ended when the latest one began, and one more: the response's part of the exchange is that of the
    /// request at hand if this is `responses` and one more. Only the response half changes it.
    pub begun: u32,
    /// From when on a gap is a stall, in nanoseconds.
    pub stall_ns: u64,
    /// [`super::life_cycle::follows`] of the response half.
    pub responses_follow: u8,
    /// What all exchanges of the connection have in [`Exchange::flags`].
    pub flags: u8,
    /// The connection was open before the agent attached, and what is under way may be older too.
    pub preexisting: u8,
    /// [`crate::records::given_up::Cause`] once the connection is given up, or [`OVER`].
    pub over: u8,
    /// Responses that have ended, also those that no request waited for.
    pub answers: u32,
    /// 1 once a client that waits for it was told to send its body.
    pub continued: u8,
    /// Padding to the end of the line.
    pub padding_of_responses: [u8; 39],
    /// The exchange under way, or the last one.
    pub exchange: Exchange,
    /// By [`REQUEST`] and [`RESPONSE`].
    pub halves: [Half; 2],
    /// Of requests that came ahead, those whose response has no body; by the low bits of their number.
    pub bodiless: [u64; MARKS],
    /// Of the same, those that make a tunnel of the connection if they are accepted.
    pub tunnels: [u64; MARKS],
    /// The latest request that came while another was unanswered.
    pub ahead: RequestAhead,
    /// Padding to the end of the line.
    pub padding_of_ahead: [u8; 24],
}

/// In [`Http::over`]: HTTP came to its own end, as where a tunnel begins.
pub const OVER: u8 = 0xff;

const _: () = assert!(core::mem::offset_of!(Http, requests) == 64 - STORAGE_HEADER);
const _: () = assert!(core::mem::offset_of!(Http, responses) == 128 - STORAGE_HEADER);
const _: () = assert!(core::mem::offset_of!(Http, exchange) == 192 - STORAGE_HEADER);
const _: () = assert!((core::mem::offset_of!(Http, halves) + STORAGE_HEADER).is_multiple_of(64));
const _: () = assert!(core::mem::offset_of!(Half, line) == 64);
const _: () = assert!(size_of::<Half>().is_multiple_of(64));

impl Half {
    /// The word at `position` of the window.
    #[inline(always)]
    pub fn word(&self, position: u32) -> u64 {
        // SAFETY: a position is below POSITIONS, behind which the window has room for three words.
        unsafe { self.window.as_ptr().add(masked(position)).cast::<u64>().read_unaligned() }
    }

    /// As [`Half::word`], for a position that a loop counts up to a constant: the verifier knows it without a mask.
    #[inline(always)]
    pub fn counted_word(&self, position: u32) -> u64 {
        let position = (position & (POSITIONS - 1)) as usize;
        // SAFETY: as in `word`.
        unsafe { self.window.as_ptr().add(position).cast::<u64>().read_unaligned() }
    }

    /// The three words at `position` of the window.
    #[inline(always)]
    pub fn words(&self, position: u32) -> [u64; 3] {
        // SAFETY: as in `word`.
        unsafe { self.window.as_ptr().add(masked(position)).cast::<[u64; 3]>().read_unaligned() }
    }

    /// The byte at `position` of the window.
    #[inline(always)]
    pub fn byte(&self, position: u32) -> u8 {
        // SAFETY: as in `word`.
        unsafe { self.window.as_ptr().add(masked(position)).read() }
    }

    /// Writes a word at `position` of the window.
    #[inline(always)]
    pub fn set_word(&mut self, position: u32, word: u64) {
        // SAFETY: as in `word`.
        unsafe { self.window.as_mut_ptr().add(masked(position)).cast::<u64>().write_unaligned(word) }
    }
}

/// `position` below [`POSITIONS`]. Before Linux 6.8 the verifier takes no bound from a comparison of two variables ("R4
/// unbounded memory access"), and the compiler would drop a mask of its own where it takes one.
#[inline(always)]
fn masked(position: u32) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut index = u64::from(position);
        // SAFETY: one instruction on one register.
        unsafe {
            core::arch::asm!("{0} &= {1}", inout(reg) index, const POSITIONS - 1, options(pure, nomem, nostack));
        };
        index as usize
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        (position & (POSITIONS - 1)) as usize
    }
}

impl Http {
    /// Nothing seen yet.
    pub const EMPTY: Self = {
        // SAFETY: integers and arrays of them only, of which zero is a value.
        let mut empty: Self = unsafe { core::mem::zeroed() };
        empty.exchange.index = NO_REQUEST;
        empty
    };

    /// Counts requests that are not answered to the end.
    #[inline(always)]
    pub fn outstanding(&self) -> u32 {
        volatile(&self.requests).wrapping_sub(volatile(&self.responses))
    }

    /// Tells whether the next response is that to the request in [`Http::exchange`]: then nothing else needs to be read of
    /// what the request half, often on another CPU, has written.
    #[inline(always)]
    pub fn answers_latest(&self) -> bool {
        volatile(&self.exchange.index) == volatile(&self.responses)
    }

    /// Tells whether the response at hand has begun, so that the response's part of the exchange is its own.
    #[inline(always)]
    pub fn has_begun(&self) -> bool {
        volatile(&self.begun) == volatile(&self.responses).wrapping_add(1)
    }

    /// Tells what the bytes of a half are now.
    #[inline(always)]
    pub fn protocol(&self, side: u32) -> Protocol {
        let stage = volatile(&self.halves[(side & 1) as usize].stage);
        if self.upgraded != 0 {
            Protocol::WebSocket
        } else if stage == Stage::Resync as u8 || stage == Stage::Opaque as u8 {
            Protocol::Unknown
        } else {
            Protocol::Http
        }
    }

    /// Takes the client's first `length` bytes as if they were carried from an earlier segment.
    #[inline(always)]
    pub fn carry_start(&mut self, start: [u64; TEXT_BYTES / 8], length: u32, now_ns: u64) {
        let half = &mut self.halves[REQUEST as usize];
        let mut index = 0;
        while index < TEXT_BYTES / 8 {
            half.set_word(DATA + index as u32 * 8, start[index]);
            index += 1;
        }
        half.carried = length & 0x1f;
        half.started_ns = now_ns;
    }
}
