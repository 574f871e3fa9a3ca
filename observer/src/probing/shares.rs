//! How much may be read of each target's executables: bytes and files that come back by and by.

use std::{collections::HashMap, time::Instant};

use crate::targets::TargetId;

/// Bytes that may be read at once, and what comes back of them in each second: one official executable in ten.
const BYTES: f64 = (256_u64 << 20) as f64;
const BYTES_PER_SECOND: f64 = (4_u64 << 20) as f64;

/// Files that may be read at once, and what comes back of them in each second.
const FILES: f64 = 128.0;
const FILES_PER_SECOND: f64 = 2.0;

/// The shares of all targets.
#[derive(Debug, Default)]
pub(super) struct Shares(HashMap<TargetId, Used>);

#[derive(Debug)]
struct Used {
    bytes: f64,
    files: f64,
    as_of: Instant,
}

impl Shares {
    /// Whether another executable of this target may be read.
    pub(super) fn may_read(&mut self, target: TargetId, now: Instant) -> bool {
        let used = self.used(target, now);
        used.bytes < BYTES && used.files < FILES
    }

    /// An executable of this target was read.
    pub(super) fn has_read(&mut self, target: TargetId, bytes: u64, now: Instant) {
        let used = self.used(target, now);
        used.bytes += bytes as f64;
        used.files += 1.0;
    }

    /// Forgets targets that are gone.
    pub(super) fn keep_only(&mut self, is_there: impl Fn(TargetId) -> bool) {
        self.0.retain(|id, _| is_there(*id));
    }

    fn used(&mut self, target: TargetId, now: Instant) -> &mut Used {
        let used = self.0.entry(target).or_insert(Used { bytes: 0.0, files: 0.0, as_of: now });
        let seconds = now.duration_since(used.as_of).as_secs_f64();
        used.bytes = (used.bytes - BYTES_PER_SECOND * seconds).max(0.0);
        used.files = (used.files - FILES_PER_SECOND * seconds).max(0.0);
        used.as_of = now;
        used
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_target_has_its_own_share_and_it_comes_back() {
        let mut shares = Shares::default();
        let begun = Instant::now();
        let mut read = 0;
        while shares.may_read(1, begun) {
            shares.has_read(1, 4096, begun);
            read += 1;
        }
        assert_eq!(read, 128);
        assert!(shares.may_read(2, begun));
        shares.has_read(2, 300 << 20, begun);
        assert!(!shares.may_read(2, begun + Duration::from_secs(5)));
        assert!(shares.may_read(2, begun + Duration::from_secs(15)));
        assert!(shares.may_read(1, begun + Duration::from_secs(1)));
        shares.keep_only(|id| id == 2);
        assert_eq!(shares.0.len(), 1);
    }
}
