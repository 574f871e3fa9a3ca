//! What was asked and answered, in the terms of the metrics: by method, route and status, and what kind of stream it was.
//! Each side of a connection enters what it has sent and got in full.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What exchanges are told apart by.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Cell {
    /// The method.
    pub method: String,
    /// The template.
    pub route: String,
    /// Three digits.
    pub status: u16,
    /// The label `kind` of a stream; none of a request.
    pub stream: Option<String>,
}

/// What there was of a cell.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Exchanges.
    pub exchanges: u64,
    /// Bytes of the requests' bodies; of a WebSocket, of its messages to the server.
    pub request_bytes: u64,
    /// Bytes of the answers' bodies; of a WebSocket, of its messages to the client.
    pub response_bytes: u64,
    /// Chunks that hold an event, or messages to the client.
    pub sent: u64,
    /// Messages to the server.
    pub received: u64,
}

/// All cells.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(from = "Vec<(Cell, Counts)>", into = "Vec<(Cell, Counts)>")]
pub struct Tally(BTreeMap<Cell, Counts>);

impl Tally {
    /// Adds to a cell.
    pub fn enter(&mut self, cell: Cell, counts: Counts) {
        let own = self.0.entry(cell).or_default();
        own.exchanges += counts.exchanges;
        own.request_bytes += counts.request_bytes;
        own.response_bytes += counts.response_bytes;
        own.sent += counts.sent;
        own.received += counts.received;
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: Self) {
        other.0.into_iter().for_each(|(cell, counts)| self.enter(cell, counts));
    }

    /// The cells.
    pub fn cells(&self) -> impl Iterator<Item = (&Cell, &Counts)> {
        self.0.iter()
    }

    /// All exchanges.
    pub fn exchanges(&self) -> u64 {
        self.0.values().map(|counts| counts.exchanges).sum()
    }
}

impl From<Vec<(Cell, Counts)>> for Tally {
    fn from(cells: Vec<(Cell, Counts)>) -> Self {
        let mut tally = Self::default();
        for (cell, counts) in cells {
            tally.enter(cell, counts);
        }
        tally
    }
}

impl From<Tally> for Vec<(Cell, Counts)> {
    fn from(tally: Tally) -> Self {
        tally.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_the_sum_of_its_parts_and_is_read_as_it_is_written() {
        let cell = |status| Cell { method: "GET".into(), route: "/a".into(), status, stream: None };
        let once = Counts { exchanges: 1, request_bytes: 2, response_bytes: 3, sent: 4, received: 5 };
        let mut tally = Tally::default();
        tally.enter(cell(200), once);
        tally.enter(cell(404), once);
        let mut twice = tally.clone();
        twice.add(tally.clone());
        assert_eq!((tally.exchanges(), twice.exchanges(), twice.cells().count()), (2, 4, 2));
        let text = serde_json::to_string(&twice).unwrap();
        assert_eq!(serde_json::from_str::<Tally>(&text).unwrap(), twice);
    }
}
