//! Shares of the kernel half's maps that all targets fill: says how many entries each target has.
//! The kernel half adds those that come meanwhile, and takes no more of a target that has its share.

use std::collections::BTreeMap;

use anyhow::Context as _;
use aya::{Ebpf, maps::MapData};

use super::{sys, take_hash_map};
use crate::targets::TargetId;

/// Entries that one look-up of the map asks for.
const BATCH: u32 = 64;

/// How many entries of a map each target has.
pub(super) struct Shares {
    name: &'static str,
    map: MapData,
}

impl Shares {
    /// Those in the map of this name.
    pub(super) fn new(ebpf: &mut Ebpf, name: &'static str) -> anyhow::Result<Self> {
        Ok(Self { name, map: take_hash_map(ebpf, name)? })
    }

    /// Writes how many there are; what is not among them has none.
    pub(super) fn settle(&self, entries: &BTreeMap<TargetId, u64>) -> anyhow::Result<()> {
        let map = sys::map_descriptor(&self.map);
        let known: Vec<(TargetId, u64)> =
            sys::look_up_all(map, BATCH).with_context(|| format!("cannot read the map {}", self.name))?;
        for (target, counted) in known {
            let settled = match entries.get(&target) {
                Some(count) if *count == counted => Ok(()),
                Some(count) => sys::set_element(map, &target, count),
                None => sys::delete_element(map, &target),
            };
            settled.with_context(|| format!("cannot write the map {}", self.name))?;
        }
        Ok(())
    }
}
