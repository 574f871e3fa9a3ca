//! Tells the tests what this machine has, so that those that cannot run here are shown as ignored, with the reason.
//! They are built on the machine that they run on.

use std::{fs, path::Path};

/// The first Linux with links for probes of many places (`BPF_TRACE_UPROBE_MULTI`).
const LINKS_SINCE: (u32, u32) = (6, 6);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=/proc/sys/kernel/osrelease");
    for (name, holds) in [
        ("memory_controller", has_memory_controller()),
        ("probe_links", kernel().is_some_and(|kernel| kernel >= LINKS_SINCE)),
        ("removable_cpu", Path::new("/sys/devices/system/cpu/cpu1/online").exists()),
    ] {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if holds {
            println!("cargo::rustc-cfg={name}");
        }
    }
}

/// Of v1, else one that the root of v2 hands on to its children.
fn has_memory_controller() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let is_v1 = |line: &str| {
        let options = line.split_once(" - cgroup ").map(|(_, of_mount)| of_mount);
        options.is_some_and(|options| options.split([',', ' ']).any(|option| option == "memory"))
    };
    let handed_on = fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control").unwrap_or_default();
    mounts.lines().any(is_v1) || handed_on.split_whitespace().any(|name| name == "memory")
}

fn kernel() -> Option<(u32, u32)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}
