//! What the kernel half could not send or keep, by kind and reason; `observer_records_lost_total` shows it.
//! Kind and reason together index one per-CPU array, so that counting a loss cannot fail.

/// What was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A cgroup made or removed; a rescan of the hierarchy makes up for it.
    Cgroup = 0,
    /// A connection that got no storage on its socket, or no place for its target's totals, and is in no count.
    Connection = 1,
    /// The name of an outbound connection's peer; the connection is counted under `other`.
    Peer = 2,
    /// An HTTP exchange or stream; a connection whose HTTP cannot be followed counts its own
    /// ([`super::given_up`]).
    Exchange = 3,
    /// A thread of a Node.js process, or its process, that got no place and is in no count.
    Runtime = 4,
}

/// Why it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// The ring had no room.
    RingFull = 0,
    /// The map, or the memory for one more element of it, had no room.
    MapFull = 1,
    /// It did not fit its record.
    Truncated = 2,
    /// Bytes that its framing needed did not pass, or not in order.
    Unparsed = 3,
}

/// Every kind, with the value of its label.
pub const KINDS: [(Kind, &str); 5] = [
    (Kind::Cgroup, "cgroup"),
    (Kind::Connection, "connection"),
    (Kind::Peer, "peer"),
    (Kind::Exchange, "exchange"),
    (Kind::Runtime, "runtime"),
];
/// Every reason, with the value of its label.
pub const REASONS: [(Reason, &str); 4] = [
    (Reason::RingFull, "ring_full"),
    (Reason::MapFull, "map_full"),
    (Reason::Truncated, "truncated"),
    (Reason::Unparsed, "unparsed"),
];

/// How many cells the array of losses has.
pub const CELLS: u32 = (KINDS.len() * REASONS.len()) as u32;

/// The cell of one kind and reason.
#[inline(always)]
pub const fn cell(kind: Kind, reason: Reason) -> u32 {
    kind as u32 * REASONS.len() as u32 + reason as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_reason_has_a_cell_of_its_own() {
        let mut cells: Vec<u32> = KINDS
            .iter()
            .flat_map(|(kind, _)| REASONS.iter().map(|(reason, _)| cell(*kind, *reason)))
            .collect();
        cells.sort_unstable();
        assert_eq!(cells, (0..CELLS).collect::<Vec<_>>());
    }
}
