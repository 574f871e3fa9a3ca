//! What the kernel half keeps of Node.js: per thread what runs now, per process what it came to.
//! Kinds of garbage collection are V8's own (include/v8-callbacks.h, `GCType`).

use super::histogram::Gap;

/// Kinds of pauses for garbage collection, in the order of their bits in V8's `GCType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Pause {
    /// The young generation, by copying.
    Scavenge = 0,
    /// The young generation, by marking; off by default in every version of Node.js.
    MinorMarkCompact = 1,
    /// The whole heap.
    MarkCompact = 2,
    /// A step of marking that runs between turns of the program.
    Incremental = 3,
    /// Callbacks of weak references, after a collection.
    WeakCallbacks = 4,
}

/// Every kind's label value, by its number.
pub const PAUSES: [&str; 5] =
    ["scavenge", "minor_mark_compact", "mark_compact", "incremental", "weak_callbacks"];

/// A thread that runs JavaScript: what goes on in it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Thread {
    /// When the turn of the event loop that now runs began, on the monotonic clock; 0 while the loop waits.
    pub turn_ns: u64,
    /// Bytes of the heap in use, as V8 last said.
    pub heap_used: u64,
    /// When each pause that now runs began, by [`Pause`], as one kind may begin inside another; 0 where none does.
    pub pause_ns: [u64; PAUSES.len()],
    /// The target, 0 for a thread that is of none.
    pub target: u32,
    /// The kind of the collection that now runs, where that is told at its begin only.
    pub kind: u32,
}

impl Thread {
    /// A thread of which nothing was seen.
    pub const fn new(target: u32) -> Self {
        Self { turn_ns: 0, heap_used: 0, pause_ns: [0; PAUSES.len()], target, kind: 0 }
    }
}

/// What the threads of one kind came to: the main thread, or all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Totals {
    /// Time for which each turn of the event loop ran before it polled again.
    pub busy: Gap,
    /// Pauses, by [`Pause`].
    pub pauses: [Gap; PAUSES.len()],
}

impl Totals {
    /// Nothing happened yet.
    pub const EMPTY: Self = Self { busy: Gap::EMPTY, pauses: [Gap::EMPTY; PAUSES.len()] };
}

/// A process of a target that runs JavaScript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Process {
    /// Of the thread whose id is the process's.
    pub main: Totals,
    /// Of all others.
    pub workers: Totals,
    /// The target.
    pub target: u32,
    /// Zero.
    pub padding: u32,
}

impl Process {
    /// Nothing happened yet; the target is set when it is made.
    pub const EMPTY: Self = Self { main: Totals::EMPTY, workers: Totals::EMPTY, target: 0, padding: 0 };
}

const _: () = assert!(size_of::<Thread>() == 64 && core::mem::offset_of!(Thread, target) == 56);
const _: () = assert!(size_of::<Totals>() == 6 * 18 * 8);
const _: () = assert!(size_of::<Process>() == 2 * size_of::<Totals>() + 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_label() {
        assert_eq!(PAUSES[Pause::Scavenge as usize], "scavenge");
        assert_eq!(PAUSES[Pause::MarkCompact as usize], "mark_compact");
        assert_eq!(PAUSES[Pause::WeakCallbacks as usize], "weak_callbacks");
    }
}
