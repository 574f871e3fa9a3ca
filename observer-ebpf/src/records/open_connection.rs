//! An open connection, as the walk over all of them reports it to the agent.
//! What closed connections did is in the totals of their peers.

use super::peer::PeerKey;

/// In [`OpenConnection::flags`]: it was open before the agent attached.
pub const PREEXISTING: u32 = 1;

/// What one connection has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct OpenConnection {
    /// Target, direction and peer.
    pub peer: PeerKey,
    /// When it was opened or adopted; monotonic kernel clock, nanoseconds.
    pub since_ns: u64,
    /// When the first payload byte went either way; 0 while none did.
    pub first_byte_ns: u64,
    /// Payload bytes sent, each once.
    pub sent: u64,
    /// Payload bytes received, each once.
    pub received: u64,
    /// Segments sent again.
    pub retransmitted: u32,
    /// [`PREEXISTING`].
    pub flags: u32,
}

const _: () = assert!(size_of::<OpenConnection>() == 64);
