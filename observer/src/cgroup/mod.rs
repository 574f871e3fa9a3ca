//! The cgroup hierarchies as files: where they are mounted, which directories they have, who lives there, what they used.
//! Everybody who reads cgroups does it through this folder.

pub mod files;
#[cfg(test)]
pub(crate) mod fixture;
mod hierarchy;
pub mod mounts;
pub mod usage;

use std::path::PathBuf;

pub use hierarchy::{Hierarchy, HierarchyError, Membership, of_process, try_of_process};

/// A cgroup v2 directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cgroup {
    /// Path below the root of the v2 hierarchy, with a leading slash: `/docker/<id>`.
    pub path: PathBuf,
    /// Inode number of the directory, which is the id that eBPF helpers report.
    pub id: u64,
}
