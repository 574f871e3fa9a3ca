//! Spreads the reading of many targets' files over a few threads: the kernel makes each file's text when it is read,
//! which takes longer than all that is done with it.

use std::{num::NonZero, thread};

/// Targets for which one thread is enough: starting another takes as long as reading a few of them.
const FEW: usize = 32;

/// Threads at most, so that a scrape leaves the host's work its cores.
const MOST_THREADS: usize = 4;

/// Does `work` on every item.
pub(super) fn for_each<T: Send>(items: &mut [T], work: impl Fn(&mut T) + Sync) {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(MOST_THREADS).min(items.len().div_ceil(FEW)).max(1);
    let mut chunks = items.chunks_mut(items.len().div_ceil(threads).max(1));
    let own = chunks.next().unwrap_or_default();
    thread::scope(|scope| {
        for chunk in chunks {
            scope.spawn(|| chunk.iter_mut().for_each(&work));
        }
        own.iter_mut().for_each(&work);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        for count in [0, 1, FEW, FEW + 1, 1001] {
            let mut items: Vec<usize> = (0..count).collect();
            for_each(&mut items, |item| *item += 1);
            assert!(items.iter().copied().eq(1..=count), "{count} items");
        }
    }
}
