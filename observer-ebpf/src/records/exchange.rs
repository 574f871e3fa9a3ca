//! One request and its response, as the kernel half keeps it on the socket and sends it to the agent.
//! A request that came before the answer to the one before it (pipelining) is sent on its own, ahead of that.

use super::histogram::GAP_NS;

/// `kind` of an [`Exchange`] that ends with [`Exchange::path`]: it was no stream.
pub const EXCHANGE: u32 = 3;
/// `kind` of an [`Exchange`] that is sent whole.
pub const STREAM: u32 = 4;
/// `kind` of a [`RequestAhead`].
pub const REQUEST_AHEAD: u32 = 5;

/// Room for a request's path. What is longer is cut.
pub const PATH_BYTES: usize = 192;

/// The registered methods by their number; all others have the last one, `other`.
pub const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "other"];

/// What a response's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Body {
    /// Its length is known from the head, or it has none.
    Known = 0,
    /// Chunked, or it lasts until the connection is closed.
    Unknown = 1,
    /// Server-sent events (`text/event-stream`).
    Sse = 2,
    /// A line of JSON per event.
    Ndjson = 3,
    /// The connection became a WebSocket (RFC 6455).
    WebSocket = 4,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// By its own end.
    Completed = 0,
    /// The client closed or reset the connection first.
    ClientAbort = 1,
    /// The server closed without the end of the message.
    ServerAbort = 2,
    /// The server reset the connection.
    Reset = 3,
    /// The connection timed out.
    Timeout = 4,
    /// It is under way.
    Open = 5,
}

/// In `flags`: the request was sent ahead as a [`RequestAhead`] of the same `id` and `index`; path, method and
/// `started_ns` are there.
pub const AHEAD: u16 = 1;
/// In `flags`: it was under way when the agent attached. Neither its request nor its status are known.
pub const PREEXISTING: u16 = 2;
/// In `flags`: both ends of the connection belong to the target.
pub const SELF_CALL: u16 = 4;
/// In `flags`: the body is compressed, so that each chunk counts as an event.
pub const ENCODED: u16 = 8;

/// A request and its response. All times are of the monotonic kernel clock in nanoseconds; 0 while not reached.
///
/// The request's half of the connection writes what is from `started_ns` on, the response's half what is before it: on
/// the socket each has cache lines of its own, because each often has a CPU of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Exchange {
    /// [`EXCHANGE`] or [`STREAM`].
    pub kind: u32,
    /// Chunks of the response that hold an event; of a WebSocket: messages sent.
    pub sent: u32,
    /// The connection's, never another's on this host (the socket's cookie, or a number above all cookies).
    pub id: u64,
    /// The first byte of the final response's head.
    pub response_ns: u64,
    /// The first bytes of the body that are no comment and no heartbeat.
    pub event_ns: u64,
    /// The last event so far.
    pub last_event_ns: u64,
    /// The end.
    pub ended_ns: u64,
    /// Bytes of the response's body without its framing; of a WebSocket: of all messages sent.
    pub response_bytes: u64,
    /// Three digits, 0 while there is none.
    pub status: u16,
    /// [`AHEAD`] and others.
    pub flags: u16,
    /// A WebSocket's close code (RFC 6455 section 7.4), 0 while there is none.
    pub close_code: u16,
    /// [`Body`].
    pub body: u8,
    /// [`Outcome`].
    pub outcome: u8,
    /// The request's first byte. For a preexisting stream: when it was first seen.
    pub started_ns: u64,
    /// The last byte of the request that was seen.
    pub request_ns: u64,
    /// Bytes of the request's body without its framing; of a WebSocket: of all messages received.
    pub request_bytes: u64,
    /// The request's number on its connection, from 0.
    pub index: u32,
    /// Messages that a WebSocket received.
    pub received: u32,
    /// The target's number.
    pub target: u32,
    /// Of an open exchange: requests on the connection that are not answered to the end, this one among them. Of one that
    /// ended: requests behind it that are never answered, because it ended with its connection; each has the next `index`, was
    /// sent ahead, and ends as it does.
    pub in_flight: u32,
    /// Bytes of `path` in use.
    pub path_length: u16,
    /// The server's port, host byte order, of an outbound connection; 0 of an inbound one.
    pub port: u16,
    /// Index into [`METHODS`].
    pub method: u8,
    /// [`crate::records::peer::Direction`] of the connection.
    pub direction: u8,
    /// Padding, always zero.
    pub padding: u16,
    /// The request's target without its query, as it was sent, and cut where it is longer.
    pub path: [u8; PATH_BYTES],
    /// Times between two events, over [`GAP_NS`]; the last bucket above every bound.
    pub gaps: [u32; GAP_NS.len() + 1],
    /// Gaps that were stalls.
    pub stalls: u32,
    /// Sum of all gaps in nanoseconds.
    pub gap_sum_ns: u64,
}

#[cfg(not(target_arch = "bpf"))]
impl Exchange {
    /// The exchange, and those behind it that are never answered.
    pub fn and_unanswered(self) -> impl Iterator<Item = Self> {
        let is_open = self.outcome == Outcome::Open as u8;
        let behind = if is_open { 0 } else { self.in_flight };
        (0..=behind).map(move |behind| self.behind(behind))
    }

    /// The exchange itself for 0, else the one that is so many behind it and is never answered.
    fn behind(&self, behind: u32) -> Self {
        let mut exchange = *self;
        if self.outcome != Outcome::Open as u8 {
            exchange.in_flight = 0;
        }
        if behind == 0 {
            return exchange;
        }
        exchange.kind = EXCHANGE;
        exchange.index = self.index.wrapping_add(behind);
        exchange.flags = self.flags & SELF_CALL | AHEAD;
        exchange.body = Body::Known as u8;
        (exchange.status, exchange.close_code, exchange.path_length) = (0, 0, 0);
        (exchange.response_ns, exchange.event_ns, exchange.last_event_ns) = (0, 0, 0);
        (exchange.request_ns, exchange.request_bytes, exchange.response_bytes) = (0, 0, 0);
        (exchange.sent, exchange.received) = (0, 0);
        exchange
    }
}

/// Bytes of an [`Exchange`] before its path.
pub const HEAD_BYTES: usize = core::mem::offset_of!(Exchange, path);
const _: () = assert!(core::mem::offset_of!(Exchange, started_ns) == 64);
const _: () = assert!(HEAD_BYTES == 112);
const _: () = assert!(core::mem::offset_of!(Exchange, gaps) == HEAD_BYTES + PATH_BYTES);
const _: () = assert!(size_of::<Exchange>() == HEAD_BYTES + PATH_BYTES + (GAP_NS.len() + 2) * 4 + 8);

/// A request that began before the one before it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RequestAhead {
    /// [`REQUEST_AHEAD`].
    pub kind: u32,
    /// As in its [`Exchange`].
    pub index: u32,
    /// As in its [`Exchange`].
    pub id: u64,
    /// The request's first byte.
    pub started_ns: u64,
    /// As in its [`Exchange`], as far as the head tells.
    pub request_bytes: u64,
    /// Bytes of `path` in use.
    pub path_length: u16,
    /// Index into [`METHODS`].
    pub method: u8,
    /// Padding, always zero.
    pub padding: [u8; 5],
    /// The request's target without its query, as it was sent, and cut where it is longer.
    pub path: [u8; PATH_BYTES],
}

const _: () = assert!(size_of::<RequestAhead>() == 40 + PATH_BYTES);
