//! What order asks of a framer: bytes and their positions, never sequence numbers.
//! The one interface between the two; a protocol that is carried by TCP implements it once.

/// The half of the bytes that flow from client to server.
pub const REQUEST: u32 = 0;
/// The half of the bytes that flow from server to client.
pub const RESPONSE: u32 = 1;

/// What a framer made of a segment that came ahead of a hole.
pub mod ahead {
    /// Nothing: its bytes were not framed.
    pub const UNREAD: u32 = 0;
    /// Whole pieces, which were counted.
    pub const PIECES: u32 = 1;
    /// Whole pieces and the end of the message.
    pub const LAST: u32 = 2;
}

/// A framer of one connection. `side` is [`REQUEST`] or [`RESPONSE`].
pub trait Framer {
    /// Frames the bytes of the segment at hand from `offset` to `end`.
    fn frame(&self, side: u32, offset: u32, end: u32);
    /// Passes over `bytes` that did not come, or were not framed, where framing needs none of them; false where it does.
    fn pass(&self, side: u32, bytes: u32) -> bool;
    /// Gives up on the message at hand: bytes that it needed are gone.
    fn lose(&self, side: u32);
    /// Begins to read the segment at hand as it is, although what precedes it is missing; false where that tells nothing.
    fn begins_ahead(&self, side: u32) -> bool;
    /// Reads the segment at hand, of `length` bytes, ahead of a hole, and counts what it holds; what that is ([`ahead`]).
    fn read_ahead(&self, side: u32, length: u32) -> u32;
    /// Goes on behind a segment that was read as `read`; false where the message has not come to its beginning.
    fn take_read(&self, side: u32, read: u32) -> bool;
}
