//! Follows the processes of the targets: each executable of Node.js is probed once, while a process runs it.
//! A file is one whatever container it is seen from; a layer that containers share is probed for all of them.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use super::executable::{self, Executable, Point, Probe};
use crate::{cgroup::Hierarchy, targets::Target};

/// Executables that are remembered when nothing runs them any more.
const REMEMBERED: usize = 256;

/// What probes an executable; the kernel half, and in tests something that notes what it is told.
pub trait Probes: Send + Sync {
    /// Probes that are in place; dropping them takes them out.
    type Links: Send;

    /// Puts a probe at each point of the file, and says which could not be put there, and why.
    fn probe(&self, file: &Path, points: &[Point]) -> (Self::Links, Vec<(Probe, String)>);
}

impl<P: Probes> Probes for Arc<P> {
    type Links = P::Links;

    fn probe(&self, file: &Path, points: &[Point]) -> (Self::Links, Vec<(Probe, String)>) {
        (**self).probe(file, points)
    }
}

/// What the executables that run now cannot be probed for. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Refused(Arc<RwLock<BTreeSet<(Probe, String)>>>);

impl Refused {
    /// Each probe and why it is not in place somewhere.
    pub fn list(&self) -> Vec<(Probe, String)> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// A file as the same one in every container: the layer below decides its inode, and the mount its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileId {
    inode: u64,
    size: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

impl FileId {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// What is known of a file.
struct Known<Links> {
    /// `None` where it is not Node.js.
    executable: Option<Arc<Executable>>,
    /// While a process runs it.
    probed: Option<Probed<Links>>,
}

struct Probed<Links> {
    _links: Links,
    refused: Vec<(Probe, String)>,
}

/// Keeps the executables of the targets' processes probed. Dropping it takes all probes out.
pub struct Follower<P: Probes> {
    probes: P,
    proc_root: PathBuf,
    files: HashMap<FileId, Known<P::Links>>,
    refused: Refused,
}

impl<P: Probes> Follower<P> {
    /// Finds executables below `proc_root`.
    pub fn new(probes: P, proc_root: PathBuf) -> Self {
        Self { probes, proc_root, files: HashMap::new(), refused: Refused::default() }
    }

    /// What cannot be probed, as of the last look.
    pub fn refused(&self) -> Refused {
        self.refused.clone()
    }

    /// Looks at every process of the targets; what no process runs any more is left.
    pub fn look(&mut self, targets: &[Target], hierarchy: &Hierarchy) {
        let cgroups = targets.iter().flat_map(|target| &target.cgroups);
        let processes = cgroups.flat_map(|cgroup| hierarchy.processes(&cgroup.path));
        let running: HashSet<FileId> = processes.filter_map(|pid| self.take(pid)).collect();
        for (id, known) in &mut self.files {
            if known.probed.is_some() && !running.contains(id) {
                known.probed = None;
                tracing::debug!(inode = id.inode, "no process of a target runs this Node.js any more");
            }
        }
        if self.files.len() > REMEMBERED {
            self.files.retain(|id, _| running.contains(id));
        }
        self.publish();
    }

    /// Looks at one process of a target, which has just begun to run its executable; whether that is Node.js.
    pub fn started(&mut self, pid: u32) -> bool {
        let id = self.take(pid);
        self.publish();
        id.and_then(|id| self.files.get(&id)).is_some_and(|known| known.executable.is_some())
    }

    /// Probes the executable of this process unless that is done; what it is, where it could be told.
    fn take(&mut self, pid: u32) -> Option<FileId> {
        let path = self.proc_root.join(pid.to_string()).join("exe");
        let id = FileId::of(&path)?;
        if self.files.get(&id).is_some_and(|known| known.executable.is_none() || known.probed.is_some()) {
            return Some(id);
        }
        let known = match self.files.remove(&id) {
            Some(known) => known,
            None => match executable::read(&path) {
                Ok(executable) => Known { executable: executable.map(Arc::new), probed: None },
                Err(error) => {
                    tracing::debug!(pid, error = format!("{error:#}"), "an executable cannot be read");
                    return None;
                }
            },
        };
        let probed = known.executable.as_ref().map(|executable| self.probe(pid, &path, executable));
        self.files.insert(id, Known { probed, ..known });
        Some(id)
    }

    fn probe(&self, pid: u32, path: &Path, executable: &Executable) -> Probed<P::Links> {
        let (links, mut refused) = self.probes.probe(path, &executable.points);
        refused.extend(executable.missing.iter().map(|missing| (missing.probe, missing.reason.to_owned())));
        tracing::info!(
            pid,
            points = executable.points.len(),
            refused = refused.len(),
            "probing an executable of Node.js"
        );
        Probed { _links: links, refused }
    }

    fn publish(&self) {
        let probed = self.files.values().filter_map(|known| known.probed.as_ref());
        let refused = probed.flat_map(|probed| probed.refused.iter().cloned()).collect();
        *self.refused.0.write().unwrap_or_else(PoisonError::into_inner) = refused;
    }
}
