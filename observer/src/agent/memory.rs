//! The memory that the agent may use, and how many connections' HTTP it can follow with it.
//! The kernel charges the state of each connection to the cgroup that made the map: the agent's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use procfs::process::Process;

use crate::{
    cgroup::{files, mounts::CgroupMounts},
    kernel,
};

/// What the agent needs beside the connections' states, with 1,000 targets while it is scraped; measured by the test
/// `memory_limit`.
const BESIDES: u64 = 60 << 20;

/// With less memory than that, this part of it is for connections.
const LEAST_PART: u64 = 16;

/// More connections than any machine has, where nothing limits them. Half of what the kernel half's signed count can be: counting
/// again what is there misses a connection that begins meanwhile, and its end then gives back a place that was never taken.
const UNLIMITED: u64 = (i64::MAX / 2).cast_unsigned();

/// How many connections' HTTP may be followed at once: `configured`, or by the memory limit where that is 0.
pub(super) fn followed_connections(configured: u32, limit: Option<u64>) -> u64 {
    match (configured, limit) {
        (0, Some(limit)) => {
            limit.saturating_sub(BESIDES).max(limit / LEAST_PART) / kernel::bytes_of_connection()
        }
        (0, None) => UNLIMITED,
        (configured, _) => configured.into(),
    }
}

/// The lowest memory limit of the agent's cgroup and of those above it, as far as they are in sight.
pub(super) fn limit(mounts: &CgroupMounts, proc_root: &Path) -> Option<u64> {
    let cgroups = Process::new_with_root(proc_root.join("self")).ok()?.cgroups().ok()?;
    let limits = cgroups.into_iter().filter_map(|cgroup| {
        let path = Path::new(&cgroup.pathname);
        let (directory, file) = if cgroup.hierarchy == 0 {
            (mounts.unified.directory(path)?, "memory.max")
        } else if cgroup.controllers.iter().any(|controller| controller == "memory") {
            (mounts.v1_directory("memory", path)?, "memory.limit_in_bytes")
        } else {
            return None;
        };
        lowest(&directory, file)
    });
    limits.min()
}

/// The lowest limit in `file` of a directory and those above it.
fn lowest(directory: &Path, file: &str) -> Option<u64> {
    let read = |directory: &Path| {
        let path: PathBuf = directory.join(file);
        files::limit(&fs::read_to_string(path).ok()?)
    };
    directory.ancestors().filter_map(read).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_the_rest_leaves_of_the_limit() {
        let each = kernel::bytes_of_connection();
        assert_eq!(followed_connections(0, Some(64 << 20)), (4 << 20) / each);
        assert_eq!(followed_connections(0, Some(256 << 20)), (196 << 20) / each);
        assert_eq!(followed_connections(0, Some(32 << 20)), (2 << 20) / each);
        assert_eq!(followed_connections(500, Some(64 << 20)), 500);
    }

    #[test]
    fn places_that_are_given_back_twice_make_no_room_end() {
        let most = followed_connections(0, None);
        assert!(most > u64::from(u32::MAX));
        assert!((most + u64::from(u32::MAX)).cast_signed() > 0);
    }

    #[test]
    fn the_lowest_limit_on_the_way_up_holds() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("slice/service");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        assert_eq!(lowest(&inner, "memory.max"), None);
        fs::write(root.path().join("slice/memory.max"), "67108864\n").unwrap();
        assert_eq!(lowest(&inner, "memory.max"), Some(64 << 20));
        fs::write(inner.join("memory.max"), "1048576\n").unwrap();
        assert_eq!(lowest(&inner, "memory.max"), Some(1 << 20));
    }

    #[test]
    fn the_limit_is_found_where_the_process_is_in_either_version() {
        let root = tempfile::tempdir().unwrap();
        let (unified, memory) = (root.path().join("unified"), root.path().join("memory"));
        let mountinfo = format!("35 31 0:31 / {} rw - cgroup cgroup rw,memory\n", memory.display());
        let mounts = CgroupMounts::parse(crate::cgroup::Hierarchy::at(&unified), &mountinfo);
        let process = root.path().join("7");
        fs::create_dir_all(&process).unwrap();
        std::os::unix::fs::symlink("7", root.path().join("self")).unwrap();
        fs::write(process.join("stat"), "").unwrap();
        fs::write(process.join("cgroup"), "8:memory:/agent\n1:name=systemd:/\n0::/agent\n").unwrap();
        assert_eq!(limit(&mounts, root.path()), None);
        fs::create_dir_all(memory.join("agent")).unwrap();
        fs::write(memory.join("agent/memory.limit_in_bytes"), "134217728\n").unwrap();
        assert_eq!(limit(&mounts, root.path()), Some(128 << 20));
        fs::create_dir_all(unified.join("agent")).unwrap();
        fs::write(unified.join("agent/memory.max"), "67108864\n").unwrap();
        assert_eq!(limit(&mounts, root.path()), Some(64 << 20));
    }
}
