//! Kills for want of memory from two sources: the cgroup's own count, which is gone with the cgroup, and the kernel half's.
//! Each sees some that the other does not, and none may count twice: of one cgroup the larger count holds.

/// What is known of one cgroup's kills before it was attached to, which the kernel half has not seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before(Option<u64>);

impl Before {
    /// All kills of a cgroup of which its file says `file` and the kernel half `seen`; `None` where neither knows of any.
    ///
    /// The file counts a kill when the process is picked, the kernel half when it ends: the smallest difference there
    /// ever was is what came before.
    pub(super) fn all(&mut self, file: Option<u64>, seen: u64) -> Option<u64> {
        if let Some(file) = file {
            let difference = file.saturating_sub(seen);
            self.0 = Some(self.0.map_or(difference, |before| before.min(difference)));
        }
        file.max((seen > 0).then(|| self.0.unwrap_or_default() + seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_counts_of_the_same_kills_the_larger_holds() {
        let mut new = Before::default();
        assert_eq!(new.all(None, 0), None);
        assert_eq!(new.all(Some(0), 0), Some(0));
        // Picked and not ended yet, then both, then one that the file no longer tells.
        assert_eq!(new.all(Some(1), 0), Some(1));
        assert_eq!(new.all(Some(1), 1), Some(1));
        assert_eq!(new.all(None, 2), Some(2));

        let mut older = Before::default();
        assert_eq!(older.all(Some(5), 0), Some(5));
        assert_eq!(older.all(Some(6), 1), Some(6));
        assert_eq!(older.all(None, 2), Some(7));

        // Picked just before the first look.
        let mut racing = Before::default();
        assert_eq!(racing.all(Some(1), 0), Some(1));
        assert_eq!(racing.all(Some(1), 1), Some(1));
        assert_eq!(racing.all(None, 1), Some(1));
        assert_eq!(racing.all(None, 2), Some(2));

        let mut never_looked_at = Before::default();
        assert_eq!(never_looked_at.all(None, 1), Some(1));
    }
}
