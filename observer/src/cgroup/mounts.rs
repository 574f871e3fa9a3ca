//! Where the cgroup hierarchies are mounted, and which directories of the v1 controllers belong to a v2 cgroup.
//! On a hybrid host the controllers are v1 mounts and the v2 tree has directories without controller files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use procfs::process::{MountInfo, Process};

use super::files;
use super::{Cgroup, Hierarchy};

/// The v1 controllers whose files are read.
const CONTROLLERS: &[&str] = &["blkio", "cpu", "cpuacct", "memory", "pids"];

/// The cgroup hierarchies, as the agent sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMounts {
    /// That of v2.
    pub unified: Hierarchy,
    /// Those of v1: none on a unified host.
    pub v1: Vec<V1Mount>,
}

/// One v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V1Mount {
    /// Which of the controllers that are read it has.
    pub controllers: Vec<&'static str>,
    /// The cgroup that is mounted: `/` but where a runtime mounts only a container's own subtree.
    pub root: PathBuf,
    /// Where.
    pub mount_point: PathBuf,
}

/// The directory of each v1 controller that counts for one v2 cgroup and for nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct V1Directories(Vec<(&'static str, PathBuf)>);

impl CgroupMounts {
    /// Finds the v1 hierarchies beside the v2 one among the mounts that the agent itself sees.
    pub fn read(unified: Hierarchy, proc_root: &Path) -> anyhow::Result<Self> {
        let path = proc_root.join("self/mountinfo");
        let mountinfo = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        // A mount point may have any bytes in its name; those of cgroup hierarchies are plain.
        Ok(Self::parse(unified, &String::from_utf8_lossy(&mountinfo)))
    }

    /// Finds the v1 hierarchies in the text of `/proc/PID/mountinfo`. Where one is mounted more than once, the first
    /// mount of its root wins, else the first.
    pub fn parse(unified: Hierarchy, mountinfo: &str) -> Self {
        let mut mounts: Vec<MountInfo> = mountinfo
            .lines()
            .filter_map(|line| MountInfo::from_line(line).ok())
            .filter(|mount| mount.fs_type == "cgroup")
            .collect();
        mounts.sort_by_key(|mount| mount.root != "/");
        let mut found = Self { unified, v1: Vec::new() };
        for mount in mounts {
            let free = |controller: &&str| {
                mount.super_options.contains_key(*controller) && found.v1(controller).is_none()
            };
            let controllers: Vec<&'static str> = CONTROLLERS.iter().copied().filter(free).collect();
            if !controllers.is_empty() {
                let (root, mount_point) = (PathBuf::from(mount.root), mount.mount_point);
                found.v1.push(V1Mount { controllers, root, mount_point });
            }
        }
        found
    }

    /// The v2 directory of a cgroup; `None` where the mounted part of the hierarchy does not hold it.
    pub fn directory(&self, cgroup: &Cgroup) -> Option<PathBuf> {
        self.unified.directory(&cgroup.path)
    }

    /// The directories of the v1 controllers for a v2 cgroup. Runtimes give a container the same path in every
    /// hierarchy; where one does not, the path of the cgroup's first process is taken, if every process in there
    /// belongs to the cgroup: a directory shared with others (often the root) says nothing about this one.
    pub fn v1_directories(&self, proc_root: &Path, cgroup: &Cgroup) -> V1Directories {
        let mut found = V1Directories::default();
        if self.v1.is_empty() {
            return found;
        }
        let processes =
            self.directory(cgroup).and_then(|directory| files::members(&directory).ok()).unwrap_or_default();
        let paths = processes
            .first()
            .and_then(|pid| Process::new_with_root(proc_root.join(pid.to_string())).ok())
            .and_then(|process| process.cgroups().ok());
        for mount in &self.v1 {
            let same_path = || mount.directory(&cgroup.path).filter(|directory| directory.is_dir());
            let of_process = || {
                let path = paths.iter().flatten().find(|path| {
                    path.controllers.iter().any(|name| mount.controllers.contains(&name.as_str()))
                })?;
                let directory = mount.directory(Path::new(&path.pathname))?;
                // One whose processes cannot be told is not taken either.
                let members = files::members(&directory).ok()?;
                let shared =
                    path.pathname == "/" || !members.iter().all(|pid| processes.binary_search(pid).is_ok());
                (!shared).then_some(directory)
            };
            if let Some(directory) = same_path().or_else(of_process) {
                let of_mount = mount.controllers.iter();
                found.0.extend(of_mount.map(|controller| (*controller, directory.clone())));
            }
        }
        found
    }

    /// The directory of a v1 controller at a path of its hierarchy.
    pub fn v1_directory(&self, controller: &str, path: &Path) -> Option<PathBuf> {
        self.v1(controller)?.directory(path)
    }

    fn v1(&self, controller: &str) -> Option<&V1Mount> {
        self.v1.iter().find(|mount| mount.controllers.contains(&controller))
    }
}

impl V1Mount {
    fn directory(&self, path: &Path) -> Option<PathBuf> {
        Some(self.mount_point.join(path.strip_prefix(&self.root).ok()?))
    }
}

impl V1Directories {
    /// The directory of a controller.
    pub fn of(&self, controller: &str) -> Option<&Path> {
        let found = self.0.iter().find(|(name, _)| *name == controller);
        found.map(|(_, directory)| directory.as_path())
    }

    /// Whether no controller has a directory.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
50 31 0:31 /docker/8a1f /run/inner/memory rw - cgroup cgroup rw,memory
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
a line that nobody knows
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn cgroup(path: &str) -> Cgroup {
        Cgroup { path: PathBuf::from(path), id: 1 }
    }

    #[test]
    fn v1_hierarchies_are_found_on_hybrid_hosts_only() {
        let unified = || Hierarchy::at("/sys/fs/cgroup/unified");
        let hybrid = CgroupMounts::parse(unified(), HYBRID);
        let point = |controller| hybrid.v1(controller).map(|mount| mount.mount_point.to_str().unwrap());
        assert_eq!(point("memory"), Some("/sys/fs/cgroup/memory"));
        assert_eq!(point("cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(point("pids"), None);
        let mountinfo = "24 1 0:22 / /sys/fs/cgroup rw - cgroup2 none rw,nsdelegate";
        assert!(CgroupMounts::parse(unified(), mountinfo).v1.is_empty());
    }

    /// A hybrid host in a folder: v2 with one cgroup of process 7, memory in a v1 mount beside it.
    fn host(v1_path: &str, v1_processes: &str) -> (tempfile::TempDir, CgroupMounts) {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("unified/chat/cgroup.procs", "7\n");
        write(&format!("memory{v1_path}/cgroup.procs"), v1_processes);
        write("proc/7/cgroup", &format!("4:memory:{v1_path}\n0::/chat\n"));
        let mounts = CgroupMounts {
            unified: Hierarchy::at(root.path().join("unified")),
            v1: vec![V1Mount {
                controllers: vec!["memory"],
                root: PathBuf::from("/"),
                mount_point: root.path().join("memory"),
            }],
        };
        (root, mounts)
    }

    fn memory_directory(v1_path: &str, v1_processes: &str) -> Option<PathBuf> {
        let (root, mounts) = host(v1_path, v1_processes);
        let directories = mounts.v1_directories(&root.path().join("proc"), &cgroup("/chat"));
        let directory = directories.of("memory")?;
        Some(directory.strip_prefix(root.path()).unwrap().to_owned())
    }

    #[test]
    fn a_v1_directory_counts_only_where_it_is_the_cgroups_own() {
        assert_eq!(memory_directory("/chat", "7\n"), Some(PathBuf::from("memory/chat")));
        assert_eq!(memory_directory("/other/name", "7\n"), Some(PathBuf::from("memory/other/name")));
        assert_eq!(memory_directory("/shared", "7\n8\n"), None);
        assert_eq!(memory_directory("/", "7\n"), None);
    }
}
