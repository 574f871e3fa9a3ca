//! The cells through which both halves keep account of how many connections may have a framer's state.
//! The kernel charges these states to the agent's memory, so the agent sets a bound where its memory has one.

/// Places left, as a signed number; the agent writes it, and connections count it down and up.
pub const LEFT: u32 = 0;

/// States that the agent's walk over all of them has met.
pub const WALKED: u32 = 1;

/// The number of the agent's walk over connections: what has it was reported by this walk already.
pub const CONNECTION_WALK: u32 = 2;

/// The number of the agent's walk over exchanges, likewise.
pub const EXCHANGE_WALK: u32 = 3;

/// How many cells there are.
pub const CELLS: u32 = 4;
