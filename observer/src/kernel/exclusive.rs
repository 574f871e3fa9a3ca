//! Programs of others that admit none beside them: attached without `BPF_F_ALLOW_MULTI` to a target's cgroup, or to one
//! above it.
//! The kernel refuses some of these (`hierarchy_allows_attach` in kernel/bpf/cgroup.c). Where the other one was attached
//! with `BPF_F_ALLOW_OVERRIDE` above the target it would let ours take its place, and a firewall would be off.

use std::{
    fs::File,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{attach_type, sys};
use crate::{cgroup::files::is_lack, targets::RefusedProgram};

/// `BPF_F_ALLOW_MULTI`, which a link has by itself.
const ALLOW_MULTI: u32 = 1 << 1;

/// The same for every cgroup, because it is a label; the log names the cgroup.
const REASON: &str =
    "another program is attached to the cgroup of a target, or above it, and admits no other";

/// Our programs of a cgroup by their attach type.
const PROGRAMS: [(&str, u32); 3] = [
    ("socket_events", attach_type::SOCK_OPS),
    ("packet_egress", attach_type::EGRESS),
    ("packet_ingress", attach_type::INGRESS),
];

/// A program that cannot be attached beside another one.
#[derive(Debug, thiserror::Error)]
#[error("{} has a program of another tool that admits no {program} beside it (attached without BPF_F_ALLOW_MULTI)", at.display())]
pub(super) struct Exclusive {
    program: &'static str,
    at: PathBuf,
}

impl Exclusive {
    /// As metrics show it.
    pub(super) fn refused(&self) -> RefusedProgram {
        RefusedProgram { program: self.program, reason: REASON }
    }
}

/// Fails where attaching to `directory`, below the mount point `root`, would be refused or push another program aside.
pub(super) fn require_none(directory: &Path, root: &Path) -> anyhow::Result<()> {
    let mut undecided = PROGRAMS.to_vec();
    for cgroup in directory.ancestors() {
        let file = match File::open(cgroup) {
            Ok(file) => file,
            // Without a descriptor it cannot be told, and another program might be pushed aside.
            Err(error) if is_lack(&error) => {
                return Err(error).context("it cannot be told whether other programs are attached here");
            }
            // One that is gone decides nothing; what the kernel refuses then is told as such.
            Err(_) => return Ok(()),
        };
        let mut still = Vec::new();
        for (program, attach_type) in undecided {
            // Only the nearest that has programs matters: it alone runs, or all that admit others run.
            match sys::attached_programs(file.as_fd(), attach_type) {
                Ok((0, _)) => still.push((program, attach_type)),
                Ok((_, flags)) if flags & ALLOW_MULTI == 0 => {
                    return Err(Exclusive { program, at: cgroup.to_owned() }.into());
                }
                _ => {}
            }
        }
        undecided = still;
        if undecided.is_empty() || cgroup == root {
            break;
        }
    }
    Ok(())
}
