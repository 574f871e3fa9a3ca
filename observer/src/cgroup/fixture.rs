//! A host made of files, for the unit tests: a /proc with mountinfo and processes, and a cgroup v2 tree.
//! Directories and inode numbers are real, so that removal and re-creation behave as in the kernel's trees.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{Cgroup, Hierarchy};

/// The tree; removed when dropped.
pub(crate) struct Host {
    root: TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        let host = Self { root: TempDir::new().unwrap() };
        fs::create_dir_all(host.proc_root().join("self")).unwrap();
        fs::create_dir_all(host.cgroup_root()).unwrap();
        fs::write(host.cgroup_root().join("cgroup.controllers"), "").unwrap();
        let mountinfo = format!(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n",
            host.cgroup_root().display()
        );
        fs::write(host.proc_root().join("self/mountinfo"), mountinfo).unwrap();
        host
    }

    pub(crate) fn proc_root(&self) -> PathBuf {
        self.root.path().join("proc")
    }

    pub(crate) fn cgroup_root(&self) -> PathBuf {
        self.root.path().join("unified")
    }

    pub(crate) fn hierarchy(&self) -> Hierarchy {
        Hierarchy::find(&self.proc_root()).unwrap()
    }

    /// Makes a cgroup that holds a process.
    pub(crate) fn cgroup(&self, path: &str) -> Cgroup {
        let directory = self.cgroup_root().join(path.trim_start_matches('/'));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("cgroup.controllers"), "").unwrap();
        self.populate(path, true);
        self.hierarchy().get(Path::new(path)).unwrap()
    }

    pub(crate) fn populate(&self, path: &str, populated: bool) {
        let directory = self.cgroup_root().join(path.trim_start_matches('/'));
        let events = format!("populated {}\nfrozen 0\n", u8::from(populated));
        fs::write(directory.join("cgroup.events"), events).unwrap();
    }

    pub(crate) fn remove_cgroup(&self, path: &str) {
        fs::remove_dir_all(self.cgroup_root().join(path.trim_start_matches('/'))).unwrap();
    }

    /// Replaces a cgroup by a new one, whose id differs for sure because both exist for a moment.
    pub(crate) fn recreate(&self, path: &str) -> Cgroup {
        let fresh = format!("{path}.new");
        self.cgroup(&fresh);
        if self.hierarchy().get(Path::new(path)).is_some() {
            self.remove_cgroup(path);
        }
        let absolute = |path: &str| self.cgroup_root().join(path.trim_start_matches('/'));
        fs::rename(absolute(&fresh), absolute(path)).unwrap();
        self.hierarchy().get(Path::new(path)).unwrap()
    }

    /// Makes a process with this text as its `cgroup` file.
    pub(crate) fn process(&self, pid: u32, cgroup: &[u8]) {
        let directory = self.proc_root().join(pid.to_string());
        fs::create_dir_all(directory.join("fd")).unwrap();
        fs::create_dir_all(directory.join("net")).unwrap();
        fs::create_dir_all(directory.join("ns")).unwrap();
        fs::write(directory.join("cgroup"), cgroup).unwrap();
    }

    pub(crate) fn remove_process(&self, pid: u32) {
        fs::remove_dir_all(self.proc_root().join(pid.to_string())).unwrap();
    }

    /// Points `/proc/PID/NAME` at `to`, as the kernel's own links do.
    pub(crate) fn link(&self, pid: u32, name: &str, to: &str) {
        symlink(to, self.proc_root().join(pid.to_string()).join(name)).unwrap();
    }

    /// Writes the TCP table of a process's network namespace: local address, state and inode as in the kernel's text.
    pub(crate) fn sockets(&self, pid: u32, table: &str, rows: &[(&str, &str, u64)]) {
        let mut text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n".to_owned();
        for (row, (local, state, inode)) in rows.iter().enumerate() {
            let (address, _) = local.split_once(':').unwrap();
            let remote = format!("{}:0000", "0".repeat(address.len()));
            writeln!(
                text,
                "{row:4}: {local} {remote} {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 100 0 0 10 0"
            )
            .unwrap();
        }
        fs::write(self.proc_root().join(format!("{pid}/net/{table}")), text).unwrap();
    }
}
