//! The cgroup v2 hierarchy: where it is mounted, which directories it has, which processes live in them.
//! Its mount is found in mountinfo, never assumed: unified hosts have it at /sys/fs/cgroup, hybrid ones below.

use std::{
    fs, io,
    os::unix::fs::{DirEntryExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use procfs::process::MountInfo;

use super::{Cgroup, files};

/// The v2 hierarchy as this process sees it. Cheap to clone; nothing is cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    mount_point: PathBuf,
    /// Which of its directories is mounted there: `/` but for bind mounts of a part.
    mount_root: PathBuf,
}

/// Why there is no hierarchy to work on.
#[derive(Debug, thiserror::Error)]
pub enum HierarchyError {
    /// The mounts cannot be read.
    #[error("cannot read {path}: {source}; observer needs /proc of the host")]
    Mountinfo {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// cgroup v1 only, or no cgroup file system in sight at all.
    #[error(
        "no cgroup v2 hierarchy is mounted (cgroup v1 only?); mount one beside v1 with \
         `mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified`, \
         or boot with `systemd.unified_cgroup_hierarchy=1`"
    )]
    NoVersion2,
}

/// Where a process is in the hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// In the cgroup of this path, with a leading slash.
    Inside(PathBuf),
    /// In a cgroup outside the agent's cgroup namespace, which therefore has no path here.
    Outside,
}

impl Hierarchy {
    /// Finds the mount in `PROC_ROOT/self/mountinfo`.
    pub fn find(proc_root: &Path) -> Result<Self, HierarchyError> {
        let path = proc_root.join("self/mountinfo");
        let bytes = fs::read(&path).map_err(|source| HierarchyError::Mountinfo { path, source })?;
        // Lossy, because a mount point elsewhere may be named in any bytes.
        let text = String::from_utf8_lossy(&bytes);
        let mounts: Vec<MountInfo> = text
            .lines()
            .filter(|line| line.contains(" - cgroup2 "))
            .filter_map(|line| MountInfo::from_line(line).ok())
            // Every directory of v2 has this file; a mount that another one covers shows none.
            .filter(|mount| mount.mount_point.join("cgroup.controllers").exists())
            .collect();
        let whole = mounts.iter().find(|mount| mount.root == "/");
        let mount = whole.or(mounts.first()).ok_or(HierarchyError::NoVersion2)?;
        Ok(Self { mount_point: mount.mount_point.clone(), mount_root: PathBuf::from(&mount.root) })
    }

    /// The hierarchy, mounted whole at a directory that is known.
    pub fn at(mount_point: impl Into<PathBuf>) -> Self {
        Self { mount_point: mount_point.into(), mount_root: PathBuf::from("/") }
    }

    /// Where it is mounted.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// The directory of the cgroup of this path; `None` where the mounted part does not hold it.
    pub fn directory(&self, cgroup: &Path) -> Option<PathBuf> {
        let below = cgroup.strip_prefix(&self.mount_root).ok()?;
        // `join` of an empty path would leave a trailing slash in messages.
        Some(if below.as_os_str().is_empty() {
            self.mount_point.clone()
        } else {
            self.mount_point.join(below)
        })
    }

    /// The cgroup of this path, if it exists.
    pub fn get(&self, path: &Path) -> Option<Cgroup> {
        let metadata = fs::metadata(self.directory(path)?).ok()?;
        metadata.is_dir().then(|| Cgroup { path: path.to_owned(), id: metadata.ino() })
    }

    /// The cgroup that the kernel tells of. Its path begins at the root of the host's hierarchy: in a cgroup namespace that
    /// is above what is seen, so that the end of the path must lead to the cgroup of this id.
    pub fn locate(&self, path: &Path, id: u64) -> Option<Cgroup> {
        // Under the path itself it may have been removed and made again meanwhile.
        self.get(path).or_else(|| {
            let mut parts = path.components();
            parts.next();
            std::iter::from_fn(|| parts.next().map(|_| Path::new("/").join(parts.as_path())))
                .filter_map(|end| self.get(&end))
                .find(|cgroup| cgroup.id == id)
        })
    }

    /// Every cgroup, parents before their children. What vanishes meanwhile is left out. An error says that it cannot be told.
    pub fn walk(&self) -> io::Result<Vec<Cgroup>> {
        let Some(root) = self.get(&self.mount_root) else {
            return Ok(Vec::new());
        };
        let mut found = vec![root];
        let mut pending = vec![(self.mount_point.clone(), self.mount_root.clone())];
        while let Some((directory, path)) = pending.pop() {
            let Some(entries) = files::unless_short(fs::read_dir(&directory))? else { continue };
            for entry in entries {
                let Some(entry) = files::unless_short(entry)? else { continue };
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let Some(metadata) = files::unless_short(entry.metadata())? else { continue };
                let path = path.join(entry.file_name());
                found.push(Cgroup { path: path.clone(), id: entry.ino() });
                // Two links are `.` and the parent's entry: no child. It spares reading the dozens of
                // files of each leaf, which is most of a walk's cost. File systems that do not count
                // report 1.
                if metadata.nlink() != 2 {
                    pending.push((entry.path(), path));
                }
            }
        }
        Ok(found)
    }

    /// Process ids in the cgroup and all its descendants. Empty when it is gone.
    pub fn processes(&self, cgroup: &Path) -> Vec<u32> {
        self.members(cgroup).unwrap_or_default()
    }

    /// Process ids in the cgroup and all its descendants, empty when it is gone. An error says that it cannot be told.
    pub fn members(&self, cgroup: &Path) -> io::Result<Vec<u32>> {
        let Some(directory) = self.directory(cgroup) else { return Ok(Vec::new()) };
        let members = files::members(&directory)?.into_iter();
        Ok(members.filter_map(|pid| pid.try_into().ok()).collect())
    }

    /// Whether the cgroup or a descendant holds a live process; `None` when it is gone. An error says that it cannot be told.
    pub fn populated(&self, cgroup: &Path) -> io::Result<Option<bool>> {
        self.directory(cgroup).map_or(Ok(None), |directory| files::populated(&directory))
    }
}

/// Where a process is in the v2 hierarchy; `None` when it is gone or its cgroup is, or when it cannot be told.
pub fn of_process(proc_root: &Path, pid: u32) -> Option<Membership> {
    try_of_process(proc_root, pid).ok()?
}

/// The same; an error says that it cannot be told.
pub fn try_of_process(proc_root: &Path, pid: u32) -> io::Result<Option<Membership>> {
    let read = fs::read(proc_root.join(pid.to_string()).join("cgroup"));
    Ok(files::unless_short(read)?.and_then(|bytes| membership(&bytes)))
}

/// What `/proc/PID/cgroup` says of the v2 hierarchy.
fn membership(bytes: &[u8]) -> Option<Membership> {
    let text = String::from_utf8_lossy(bytes);
    // `0::` is the v2 hierarchy's line, man 7 cgroups.
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    if path.ends_with(" (deleted)") {
        return None;
    }
    if path == "/.." || path.starts_with("/../") {
        return Some(Membership::Outside);
    }
    Some(Membership::Inside(PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cgroup::fixture::Host;

    #[test]
    fn the_mount_is_found_on_hybrid_hosts_and_missed_on_v1() {
        let host = Host::new();
        assert_eq!(host.hierarchy().mount_point(), host.cgroup_root());
        let v1 = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                  32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        fs::write(host.proc_root().join("self/mountinfo"), v1).unwrap();
        let error = Hierarchy::find(&host.proc_root()).unwrap_err();
        assert!(matches!(error, HierarchyError::NoVersion2), "{error}");
        fs::remove_file(host.proc_root().join("self/mountinfo")).unwrap();
        let error = Hierarchy::find(&host.proc_root()).unwrap_err();
        assert!(matches!(error, HierarchyError::Mountinfo { .. }), "{error}");
    }

    #[test]
    fn the_whole_hierarchy_is_preferred_to_a_bind_mount_of_a_part() {
        let host = Host::new();
        let part = host.cgroup("/part");
        let mountinfo = host.proc_root().join("self/mountinfo");
        let whole = fs::read_to_string(&mountinfo).unwrap();
        let directory = host.cgroup_root().join("part");
        let bind = format!("9 1 0:9 /part {} rw - cgroup2 cgroup2 rw\n", directory.display());
        fs::write(&mountinfo, format!("{bind}{whole}")).unwrap();
        assert_eq!(host.hierarchy().mount_point(), host.cgroup_root());
        fs::write(&mountinfo, bind).unwrap();
        let hierarchy = host.hierarchy();
        assert_eq!(hierarchy.get(Path::new("/part")), Some(part.clone()));
        assert_eq!(hierarchy.get(Path::new("/other")), None);
        assert_eq!(hierarchy.walk().unwrap(), [part]);
    }

    #[test]
    fn a_walk_finds_every_directory_with_its_inode() {
        let host = Host::new();
        let made = ["/docker", "/docker/a", "/docker/a/b", "/system.slice"].map(|path| host.cgroup(path));
        let walked: BTreeSet<(PathBuf, u64)> =
            host.hierarchy().walk().unwrap().into_iter().map(|cgroup| (cgroup.path, cgroup.id)).collect();
        assert_eq!(walked.len(), made.len() + 1, "{walked:?}");
        for cgroup in made {
            assert!(walked.contains(&(cgroup.path.clone(), cgroup.id)), "{cgroup:?}");
        }
    }

    #[test]
    fn a_path_that_begins_above_is_followed_to_the_cgroup_of_its_id() {
        let host = Host::new();
        let cgroup = host.cgroup("/system.slice/docker-1.scope");
        let located = |path: &str, id| host.hierarchy().locate(Path::new(path), id);
        assert_eq!(located("/system.slice/docker-1.scope", cgroup.id), Some(cgroup.clone()));
        assert_eq!(located("/machine/payload/system.slice/docker-1.scope", cgroup.id), Some(cgroup.clone()));
        assert_eq!(located("/machine/payload/system.slice/docker-1.scope", cgroup.id + 1), None);
        assert_eq!(located("/machine/docker-1.scope", cgroup.id), None);
    }

    #[test]
    fn processes_of_descendants_count() {
        let host = Host::new();
        host.cgroup("/a");
        host.cgroup("/a/b");
        fs::write(host.cgroup_root().join("a/cgroup.procs"), "7\n8\n0\n").unwrap();
        fs::write(host.cgroup_root().join("a/b/cgroup.procs"), "9\n").unwrap();
        let mut processes = host.hierarchy().processes(Path::new("/a"));
        processes.sort_unstable();
        assert_eq!(processes, [7, 8, 9]);
        assert!(host.hierarchy().processes(Path::new("/gone")).is_empty());
    }

    #[test]
    fn population_is_read_and_the_root_has_it_always() {
        let host = Host::new();
        host.cgroup("/a");
        let hierarchy = host.hierarchy();
        assert_eq!(hierarchy.populated(Path::new("/a")).unwrap(), Some(true));
        host.populate("/a", false);
        assert_eq!(hierarchy.populated(Path::new("/a")).unwrap(), Some(false));
        assert_eq!(hierarchy.populated(Path::new("/gone")).unwrap(), None);
        assert_eq!(hierarchy.populated(Path::new("/")).unwrap(), Some(false));
        fs::write(host.cgroup_root().join("cgroup.procs"), "1\n").unwrap();
        assert_eq!(hierarchy.populated(Path::new("/")).unwrap(), Some(true));
    }

    #[test]
    fn a_process_is_located_by_its_v2_line() {
        let host = Host::new();
        let located = |line: &[u8]| {
            host.process(7, line);
            of_process(&host.proc_root(), 7)
        };
        let inside = |path: &str| Some(Membership::Inside(PathBuf::from(path)));
        assert_eq!(located(b"4:memory:/x\n0::/docker/a\n"), inside("/docker/a"));
        assert_eq!(located(b"0::/\n"), inside("/"));
        assert_eq!(located(b"1:name=\xff:/\n0::/a\n"), inside("/a"));
        assert_eq!(located(b"0::/../other\n"), Some(Membership::Outside));
        assert_eq!(located(b"0::/..\n"), Some(Membership::Outside));
        assert_eq!(located(b"0::/a (deleted)\n"), None);
        assert_eq!(located(b"4:memory:/x\n"), None);
        assert_eq!(of_process(&host.proc_root(), 8), None);
    }
}
