//! Connections whose HTTP was given up while they lived, by cause: what they carried from then on is not known.
//! One cell per cause in a per-CPU array; `observer_connections_given_up_total` shows it.

/// Why a connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// It was not.
    None = 0,
    /// Neither of its sides can be followed any more, so that not even the number of exchanges is known.
    Unpaired = 1,
    /// Messages were followed by bytes that are not HTTP/1.x.
    Foreign = 2,
    /// The frames of a WebSocket were lost; they have no beginning that could be found again.
    Frames = 3,
    /// There was no room for another connection's state; its HTTP was never followed.
    NoRoom = 4,
}

/// Every cause that is counted, with the value of its label.
pub const CAUSES: [(Cause, &str); 4] = [
    (Cause::Unpaired, "unpaired"),
    (Cause::Foreign, "foreign"),
    (Cause::Frames, "frames"),
    (Cause::NoRoom, "no_room"),
];

/// How many cells the array has, of which the first stays zero.
pub const CELLS: u32 = CAUSES.len() as u32 + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_cell_of_its_own() {
        for (index, (cause, _)) in CAUSES.iter().enumerate() {
            assert_eq!(*cause as usize, index + 1);
        }
    }
}
