//! Keeps account of how many more connections may have a framer's state: the kernel charges each to the agent's memory.
//! The kernel half counts down and up; what it misses is put right by counting the states there are.

use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use aya::maps::{Array, MapData};
use observer_ebpf::{
    flow::Followed,
    records::room::{CONNECTION_WALK, EXCHANGE_WALK, LEFT, WALKED},
};

/// What the kernel takes for a socket's first storage, and for the storage of its connection.
const BESIDES: u64 = 512;

/// Bytes that the kernel charges for a connection whose HTTP is followed: its allocator gives out powers of two.
pub fn bytes_of_connection() -> u64 {
    size_of::<Followed>().next_power_of_two() as u64 + BESIDES
}

/// The places for states.
pub(super) struct Places {
    most: u64,
    cells: Mutex<Array<MapData, u64>>,
    walking: Mutex<()>,
    recounting: Mutex<()>,
}

impl Places {
    /// `most` places, all of them free.
    pub(super) fn new(mut cells: Array<MapData, u64>, most: u64) -> anyhow::Result<Self> {
        cells.set(LEFT, most, 0).context("cannot write the number of places")?;
        Ok(Self { most, cells: Mutex::new(cells), walking: Mutex::default(), recounting: Mutex::default() })
    }

    /// Whether so many are taken that those left should be counted again: some end unseen.
    pub(super) fn are_few(&self) -> bool {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.get(&LEFT, 0).is_ok_and(|left| left.cast_signed() < (self.most / 2).cast_signed())
    }

    /// Does `walk`, which is to walk over all connections, as a walk with a number of its own.
    pub(super) fn walk_connections<T>(&self, walk: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let _one_at_a_time = self.walking.lock().unwrap_or_else(PoisonError::into_inner);
        self.begin_walk(CONNECTION_WALK)?;
        walk()
    }

    /// Gives a walk the next number, by which the kernel half knows what it has reported.
    fn begin_walk(&self, cell: u32) -> anyhow::Result<()> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let last = cells.get(&cell, 0).context("cannot read the number of walks")?;
        // The kernel half keeps 32 bits of it, and zero is that of what no walk has met.
        let next = last.wrapping_add(1) & u64::from(u32::MAX);
        cells.set(cell, next.max(1), 0).context("cannot write the number of walks")
    }

    /// Does `walk`, which is to walk over all states, and takes its count for the number of places in use.
    pub(super) fn recount(&self, walk: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let _one_at_a_time = self.recounting.lock().unwrap_or_else(PoisonError::into_inner);
        self.begin_walk(EXCHANGE_WALK)?;
        let set = |cell, value| {
            let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
            cells.set(cell, value, 0)
        };
        set(WALKED, 0).context("cannot write the count of states")?;
        walk()?;
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let used = cells.get(&WALKED, 0).context("cannot read the count of states")?;
        cells.set(LEFT, self.most.saturating_sub(used), 0).context("cannot write the number of places")
    }
}
