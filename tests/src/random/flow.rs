//! What one side of a connection sends: its bytes, what it waits for on the way, how they are cut into writes, and when
//! it closes. Both sides have both flows, so each knows what is to come, byte for byte.

use std::time::Duration;

use fastrand::Rng;

/// Writes of small pieces in one direction of a connection; what is behind them goes in large ones.
const SMALL_WRITES: usize = 2000;

/// The most bytes that are written at once.
const LARGE_WRITE: usize = 1 << 17;

/// As a number of bytes of the other side: all of them, and that it has closed.
pub const CLOSED: usize = usize::MAX;

/// One direction of a connection.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// All that is sent.
    pub bytes: Vec<u8>,
    /// Where it waits, in ascending order.
    pub waits: Vec<Wait>,
    /// When the direction is closed.
    pub end: End,
    /// How it is cut.
    pub cut: Cut,
}

/// What a side waits for before it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Before which of its bytes.
    pub at: usize,
    /// Until so many bytes of the other side are there, or [`CLOSED`].
    pub received: usize,
    /// And for so long.
    pub pause: Duration,
}

/// When a side closes its direction, behind all of its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// Once so many bytes of the other side are there.
    Received(usize),
    /// Once the other side has closed.
    #[default]
    Other,
}

/// How bytes are cut into writes, each of which is a segment of its own where it is small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// All that may be sent, at once.
    #[default]
    Whole,
    /// Pieces of up to so many bytes, of any length with the same probability.
    UpTo(usize),
    /// Pieces of any order of magnitude.
    Any,
}

impl Cut {
    /// Any of them.
    pub fn random(rng: &mut Rng) -> Self {
        match rng.u8(0..10) {
            0..4 => Self::Whole,
            4 => Self::UpTo(1),
            5 => Self::UpTo(7),
            6 => Self::UpTo(100),
            7 => Self::UpTo(1448),
            _ => Self::Any,
        }
    }
}

/// The lengths of the writes of a flow, one after the other.
#[derive(Debug)]
pub struct Writes {
    cut: Cut,
    rng: Rng,
    written: usize,
}

impl Writes {
    /// Those of a flow.
    pub fn new(cut: Cut, seed: u64) -> Self {
        Self { cut, rng: Rng::with_seed(seed), written: 0 }
    }

    /// How many of the `ready` bytes are written next; at least one.
    pub fn next(&mut self, ready: usize) -> usize {
        self.written += 1;
        let most = if self.written > SMALL_WRITES { LARGE_WRITE } else { self.most() };
        ready.min(most).max(1)
    }

    fn most(&mut self) -> usize {
        match self.cut {
            Cut::Whole => usize::MAX,
            Cut::UpTo(most) => self.rng.usize(1..=most),
            Cut::Any => logarithmic(&mut self.rng, 1, LARGE_WRITE),
        }
    }
}

/// A number from `least` to `most`, each order of magnitude of the distance as often as the others.
pub fn logarithmic(rng: &mut Rng, least: usize, most: usize) -> usize {
    let bits = (most - least + 1).ilog2();
    let magnitude = rng.u32(0..=bits);
    let above = rng.usize((1_usize << magnitude) - 1..(2_usize << magnitude) - 1);
    least + above.min(most - least)
}

impl Flow {
    /// Adds bytes that are sent once `received` bytes of the other side are there, and `pause` later.
    pub fn say(&mut self, bytes: &[u8], received: usize, pause: Duration) {
        self.waits.push(Wait { at: self.bytes.len(), received, pause });
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds bytes that follow the others without waiting.
    pub fn go_on(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithmic_numbers_are_within_their_bounds_and_reach_them() {
        let mut rng = Rng::with_seed(1);
        let numbers: Vec<usize> = (0..10_000).map(|_| logarithmic(&mut rng, 3, 5000)).collect();
        assert!(numbers.iter().all(|number| (3..=5000).contains(number)));
        assert!(numbers.contains(&3) && numbers.iter().any(|number| *number > 4000));
        assert_eq!(logarithmic(&mut rng, 1, 1), 1);
    }

    #[test]
    fn writes_are_cut_as_wanted_and_come_to_an_end() {
        let sizes = |cut, ready| {
            let mut writes = Writes::new(cut, 2);
            (0..SMALL_WRITES).map(|_| writes.next(ready)).collect::<Vec<_>>()
        };
        assert!(sizes(Cut::Whole, 10_000_000).iter().all(|size| *size == 10_000_000));
        assert!(sizes(Cut::UpTo(7), 1000).iter().all(|size| (1..=7).contains(size)));
        assert!(sizes(Cut::Any, 5).iter().all(|size| (1..=5).contains(size)));
        let mut writes = Writes::new(Cut::UpTo(1), 3);
        let large = (0..=SMALL_WRITES).map(|_| writes.next(usize::MAX)).last();
        assert_eq!(large, Some(LARGE_WRITE));
    }
}
