//! The cgroup hierarchies as files: where they are mounted, what a file holds, what one cgroup has used.
//! The collectors of targets, processes and containers read cgroups only through this folder.

pub mod files;
pub mod mounts;
pub mod usage;
