//! BPF programs, maps and links that one process holds, by the ids in its /proc/PID/fdinfo.
//! Ids are the kernel's and never used again soon, so that others' objects on the machine do not matter.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};
use aya::{
    maps::loaded_maps,
    programs::{loaded_links, loaded_programs},
};

/// Ids of what a process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Programs that it holds itself.
    pub programs: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
    /// Links, each an attachment.
    pub links: BTreeSet<u32>,
}

impl Held {
    /// What the process `pid` holds now.
    pub fn by(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/fdinfo");
        let mut held = Self::default();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            // One that was closed meanwhile is none.
            let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
            let id = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
            // A link's entry names its program too (kernel/bpf/syscall.c, bpf_link_show_fdinfo).
            if let Some(link) = id("link_id:") {
                held.links.insert(link);
            } else if let Some(program) = id("prog_id:") {
                held.programs.insert(program);
            } else if let Some(map) = id("map_id:") {
                held.maps.insert(map);
            }
        }
        Ok(held)
    }

    /// Those of them that the kernel still has.
    pub fn left(&self) -> Result<Self> {
        let programs =
            loaded_programs().map(|program| Ok(program?.id())).collect::<Result<BTreeSet<u32>>>()?;
        let maps = loaded_maps().map(|map| Ok(map?.id())).collect::<Result<BTreeSet<u32>>>()?;
        let links = loaded_links().map(|link| Ok(link?.id())).collect::<Result<BTreeSet<u32>>>()?;
        Ok(Self {
            programs: &self.programs & &programs,
            maps: &self.maps & &maps,
            links: &self.links & &links,
        })
    }
}
