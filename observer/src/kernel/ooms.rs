//! Processes that the kernel killed for want of memory, by target's cgroup, as the kernel half counted them.
//! What a cgroup came to is kept when it goes, until a scrape has taken it.

use std::{
    collections::HashMap,
    io, mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use aya::{Ebpf, maps::MapData};

use super::{Kernel, sys, take_hash_map};
use crate::targets::TargetId;

/// Entries that one look-up of the map asks for.
const BATCH: u32 = 256;

/// What the kernel half counted of a cgroup that is no longer attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The target that it was a part of.
    pub target: TargetId,
    /// Its inode number.
    pub cgroup: u64,
    /// Kills since it was attached to.
    pub kills: u64,
}

/// What the kernel half counted.
#[derive(Clone, Debug, Default)]
pub struct Kills {
    /// Since each cgroup was attached to, by its inode number; what is not in here has none.
    pub attached: HashMap<u64, u64>,
    /// Of cgroups that are gone; each is told once.
    pub ended: Vec<Ended>,
}

/// Where the counts of kills come from: the kernel half, and in tests a list.
pub trait OomKills: Send + Sync {
    /// The counts of now.
    fn take(&self) -> anyhow::Result<Kills>;
}

/// The map of kills, and what is no longer in it.
pub(super) struct Ooms {
    kills: MapData,
    gone: Mutex<Gone>,
}

/// Cgroups that are no longer attached to, until a scrape has taken what they came to.
#[derive(Debug, Default)]
struct Gone {
    ended: Vec<Ended>,
    /// Whose kills could not be read when they went; they are in the map still.
    unread: Vec<(u64, TargetId)>,
}

/// Cgroups whose kills are read later, at the most.
const UNREAD: usize = 1024;

impl Gone {
    /// A cgroup has gone, and its kills are what `take_out` takes out of the map.
    fn add(&mut self, cgroup: u64, target: TargetId, take_out: impl Fn(u64) -> io::Result<u64>) {
        match take_out(cgroup) {
            Ok(0) => {}
            Ok(kills) => self.ended.push(Ended { target, cgroup, kills }),
            Err(error) => {
                tracing::warn!(cgroup, %error, "the kills of a cgroup that has gone cannot be read now");
                if self.unread.len() < UNREAD {
                    self.unread.push((cgroup, target));
                }
            }
        }
    }

    /// All counts, with those of the cgroups in the map, which `attached` reads. Where that fails nothing is lost: the
    /// next scrape tells it.
    fn take(
        &mut self,
        take_out: impl Fn(u64) -> io::Result<u64>,
        attached: impl FnOnce() -> io::Result<Vec<(u64, u64)>>,
    ) -> io::Result<Kills> {
        for (cgroup, target) in mem::take(&mut self.unread) {
            self.add(cgroup, target, &take_out);
        }
        let attached = attached()?.into_iter().filter(|(_, kills)| *kills > 0).collect();
        Ok(Kills { attached, ended: mem::take(&mut self.ended) })
    }
}

impl Ooms {
    pub(super) fn new(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        Ok(Self { kills: take_hash_map(ebpf, "OOM_KILLS")?, gone: Mutex::default() })
    }

    /// From now on, kills in this cgroup and below are counted.
    pub(super) fn add(&self, cgroup: u64) -> anyhow::Result<()> {
        sys::set_element(sys::map_descriptor(&self.kills), &cgroup, &0_u64)
            .context("cannot write the map of kills")
    }

    /// Ends that, and keeps what was counted.
    pub(super) fn remove(&self, cgroup: u64, target: TargetId) {
        self.gone().add(cgroup, target, |cgroup| self.take_out(cgroup));
    }

    /// In two steps, for kernels before 5.14: nothing is counted any more in a cgroup that is gone.
    fn take_out(&self, cgroup: u64) -> io::Result<u64> {
        let map = sys::map_descriptor(&self.kills);
        let kills = sys::look_up(map, &cgroup)?;
        sys::delete_element(map, &cgroup)?;
        Ok(kills.unwrap_or_default())
    }

    /// Drops what was kept of a target that is no longer shown.
    pub(super) fn forget(&self, target: TargetId) {
        let mut gone = self.gone();
        gone.ended.retain(|ended| ended.target != target);
        gone.unread.retain(|(_, of)| *of != target);
    }

    fn gone(&self) -> MutexGuard<'_, Gone> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OomKills for Kernel {
    fn take(&self) -> anyhow::Result<Kills> {
        let attached = || sys::look_up_all(sys::map_descriptor(&self.ooms.kills), BATCH);
        // Locked throughout: a cgroup that goes meanwhile waits, and is told by the next scrape.
        let taken = self.ooms.gone().take(|cgroup| self.ooms.take_out(cgroup), attached);
        taken.context("cannot read the map of kills")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_that_cannot_be_read_now_are_told_later() {
        let refused = || io::Error::from(io::ErrorKind::OutOfMemory);
        let mut gone = Gone::default();
        gone.add(5, 1, |_| Ok(3));
        gone.add(6, 1, |_| Err(refused()));
        gone.add(7, 1, |_| Ok(0));
        assert!(gone.take(|_| Err(refused()), || Err(refused())).is_err());
        assert!(gone.take(|_| Ok(2), || Err(refused())).is_err());
        let kills = gone.take(|_| Err(refused()), || Ok(vec![(8, 4), (9, 0)])).unwrap();
        let ended = [(5, 3), (6, 2)].map(|(cgroup, kills)| Ended { target: 1, cgroup, kills });
        assert_eq!(kills.ended, ended);
        assert_eq!(kills.attached, HashMap::from([(8, 4)]));
        assert!(gone.take(|_| Ok(2), || Ok(Vec::new())).unwrap().ended.is_empty(), "each is told once");
    }
}
