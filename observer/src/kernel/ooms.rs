//! Processes that the kernel killed for want of memory, by target's cgroup, as the kernel half counted them.
//! What a cgroup came to is kept when it goes, until a scrape has taken it.

use std::{
    collections::HashMap,
    io, mem,
    sync::{Mutex, PoisonError},
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
    ended: Mutex<Vec<Ended>>,
}

impl Ooms {
    pub(super) fn new(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        Ok(Self { kills: take_hash_map(ebpf, "OOM_KILLS")?, ended: Mutex::default() })
    }

    /// From now on, kills in this cgroup and below are counted.
    pub(super) fn add(&self, cgroup: u64) -> anyhow::Result<()> {
        sys::set_element(sys::map_descriptor(&self.kills), &cgroup, &0_u64)
            .context("cannot write the map of kills")
    }

    /// Ends that, and keeps what was counted.
    pub(super) fn remove(&self, cgroup: u64, target: TargetId) {
        let kills = self.take_out(cgroup).unwrap_or_else(|error| {
            tracing::warn!(cgroup, %error, "the kills of a cgroup that has gone cannot be read");
            0
        });
        if kills > 0 {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.push(Ended { target, cgroup, kills });
        }
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
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).retain(|ended| ended.target != target);
    }
}

impl OomKills for Kernel {
    fn take(&self) -> anyhow::Result<Kills> {
        // First those that are gone: one that goes between the two is told by the next scrape.
        let ended = mem::take(&mut *self.ooms.ended.lock().unwrap_or_else(PoisonError::into_inner));
        let attached: Vec<(u64, u64)> = sys::look_up_all(sys::map_descriptor(&self.ooms.kills), BATCH)
            .context("cannot read the map of kills")?;
        Ok(Kills { attached: attached.into_iter().filter(|(_, kills)| *kills > 0).collect(), ended })
    }
}
