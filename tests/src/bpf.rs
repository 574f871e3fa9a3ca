//! What is in the kernel on behalf of a process or a cgroup: programs, maps and links.
//! Ids come from /proc/PID/fdinfo, the rest from Debian's `bpftool`.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Ids of what a process holds open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
    /// Links, which are what attaches a program.
    pub links: BTreeSet<u32>,
    /// Those of them that attach to a cgroup.
    pub cgroup_links: BTreeSet<u32>,
}

impl Held {
    /// What the process `pid` holds now.
    pub fn by(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/fdinfo");
        let mut held = Self::default();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            // A descriptor may be closed while the folder is read.
            let Ok(text) = entry.and_then(|entry| fs::read_to_string(entry.path())) else { continue };
            held.add(&text);
        }
        Ok(held)
    }

    /// Adds what one entry of fdinfo shows (kernel/bpf/syscall.c, `bpf_*_show_fdinfo`).
    fn add(&mut self, text: &str) {
        let fields = || text.lines().filter_map(|line| line.split_once(':'));
        let of_cgroup = fields().any(|(key, value)| key == "link_type" && value.trim() == "cgroup");
        for (key, value) in fields() {
            let Ok(id) = value.trim().parse::<u32>() else { continue };
            match key {
                "prog_id" => self.programs.insert(id),
                "map_id" => self.maps.insert(id),
                "link_id" if of_cgroup => self.cgroup_links.insert(id) && self.links.insert(id),
                "link_id" => self.links.insert(id),
                _ => continue,
            };
        }
    }

    /// What of it the kernel still has.
    pub fn remaining(&self) -> Result<Self> {
        Ok(Self {
            programs: existing("prog", &self.programs)?,
            maps: existing("map", &self.maps)?,
            links: existing("link", &self.links)?,
            cgroup_links: existing("link", &self.cgroup_links)?,
        })
    }
}

/// Ids of all programs, maps and links of the kernel, whoever made them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InKernel(Held);

impl InKernel {
    /// What is there now.
    pub fn list() -> Result<Self> {
        let ids = |kind| -> Result<BTreeSet<u32>> {
            Ok(bpftool(&[kind, "show"])?.into_iter().map(|item| item.id).collect())
        };
        Ok(Self(Held { programs: ids("prog")?, maps: ids("map")?, links: ids("link")?, ..Held::default() }))
    }

    /// What is here and was not in `before`.
    #[must_use]
    pub fn beside(&self, before: &Self) -> Self {
        let (now, then) = (&self.0, &before.0);
        Self(Held {
            programs: &now.programs - &then.programs,
            maps: &now.maps - &then.maps,
            links: &now.links - &then.links,
            ..Held::default()
        })
    }

    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.0 == Held::default()
    }
}

/// What `bpftool` prints of a program, map, link or attachment.
#[derive(Deserialize)]
struct Item {
    id: u32,
}

/// Ids of the programs that are attached to the cgroup of this folder.
pub fn attached_to(cgroup: &Path) -> Result<Vec<u32>> {
    let folder = cgroup.to_str().context("the path of the cgroup is not UTF-8")?;
    Ok(bpftool(&["cgroup", "show", folder])?.into_iter().map(|item| item.id).collect())
}

fn existing(kind: &str, ids: &BTreeSet<u32>) -> Result<BTreeSet<u32>> {
    let all = bpftool(&[kind, "show"])?;
    Ok(all.into_iter().map(|item| item.id).filter(|id| ids.contains(id)).collect())
}

fn bpftool(arguments: &[&str]) -> Result<Vec<Item>> {
    let output = Command::new("bpftool")
        .arg("--json")
        .args(arguments)
        .output()
        .context("cannot start bpftool: run `cargo xtask setup`")?;
    if !output.status.success() {
        bail!("bpftool {arguments:?} failed: {}", String::from_utf8_lossy(&output.stdout));
    }
    if output.stdout.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!("bpftool {arguments:?} printed: {}", String::from_utf8_lossy(&output.stdout))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_apart_by_kind() {
        let mut held = Held::default();
        held.add("pos:\t0\nflags:\t02\nlink_type:\tcgroup\nlink_id:\t7\nprog_tag:\t1f\nprog_id:\t70\n");
        held.add("pos:\t0\nmap_type:\t27\nmap_id:\t9\nfrozen:\t0\n");
        held.add("pos:\t0\nlink_type:\tperf\nlink_id:\t8\nprog_tag:\t2f\nprog_id:\t71\n");
        assert_eq!(held.programs, BTreeSet::from([70, 71]));
        assert_eq!(held.maps, BTreeSet::from([9]));
        assert_eq!(held.links, BTreeSet::from([7, 8]));
        assert_eq!(held.cgroup_links, BTreeSet::from([7]));
    }
}
