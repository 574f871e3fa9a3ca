//! How many records were read from the rings, and what became of those that mean nothing.
//! Clones count into the same place.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What is counted, each with a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Records about cgroups.
    Cgroup,
    /// HTTP exchanges and streams.
    Exchange,
    /// Requests that came before the one before them was answered.
    RequestAhead,
    /// Records of a kind or length that this agent does not know.
    Unparsed,
    /// Exchanges whose request was sent ahead and is not known.
    Unjoined,
    /// Exchanges of a target that is no longer shown.
    UnknownTarget,
}

/// Counts of records.
#[derive(Clone, Debug, Default)]
pub struct Records(Arc<[AtomicU64; 6]>);

impl Records {
    /// How many so far.
    pub fn count(&self, what: Read) -> u64 {
        self.0[what as usize].load(Ordering::Relaxed)
    }

    /// Counts `count` more.
    pub fn add(&self, what: Read, count: u64) {
        self.0[what as usize].fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_count_into_one_place_and_kinds_into_their_own() {
        let records = Records::default();
        records.clone().add(Read::Exchange, 2);
        records.add(Read::UnknownTarget, 1);
        assert_eq!(records.count(Read::Exchange), 2);
        assert_eq!(records.count(Read::UnknownTarget), 1);
        assert_eq!(records.count(Read::Cgroup), 0);
    }
}
