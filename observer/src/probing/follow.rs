//! Follows the processes of the targets: each executable of Node.js is probed once, while a process runs it.
//! A file is one whatever container it is seen from; a layer that containers share is probed for all of them.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use super::shares::Shares;
use crate::{
    cgroup::{self, Hierarchy, Membership},
    nodejs::{Executable, Point, Probe},
    reading::{CannotLook, FileId, Found, MOST_AT_ONCE, Readers},
    targets::{Target, TargetId},
};

/// Executables that are remembered when nothing runs them any more.
const REMEMBERED: usize = 256;

/// Executables of Node.js that one target may have probed at the same time.
const PROBED_OF_TARGET: usize = 4;

/// What is charged for an executable that could not be read to its end.
const UNREADABLE_BYTES: u64 = 32 << 20;

/// What probes an executable; the kernel half, and in tests something that notes what it is told.
pub trait Probes: Send + Sync {
    /// Probes that are in place; dropping them takes them out.
    type Links: Send + Sync;

    /// Puts a probe at each point of the file, and says which could not be put there, and why.
    fn probe(&self, file: BorrowedFd<'_>, points: &[Point]) -> (Self::Links, Vec<(Probe, String)>);
}

impl<P: Probes> Probes for Arc<P> {
    type Links = P::Links;

    fn probe(&self, file: BorrowedFd<'_>, points: &[Point]) -> (Self::Links, Vec<(Probe, String)>) {
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

/// What is known of a file.
struct Known<Links> {
    /// Whether it is Node.js.
    is_node: bool,
    /// While a process runs it. Files that are one, under several devices, share this.
    probed: Option<Arc<Probed<Links>>>,
    /// Targets whose processes run it.
    targets: HashSet<TargetId>,
}

struct Probed<Links> {
    _links: Links,
    points: Vec<Point>,
    refused: Vec<(Probe, String)>,
}

/// Keeps the executables of the targets' processes probed. Dropping it takes all probes out.
pub struct Follower<P: Probes> {
    probes: P,
    proc_root: PathBuf,
    readers: Readers,
    shares: Shares,
    files: HashMap<FileId, Known<P::Links>>,
    /// The targets by their cgroups.
    homes: HashMap<PathBuf, TargetId>,
    refused: Refused,
}

impl<P: Probes> Follower<P> {
    /// Finds executables by `readers`; targets of processes below `proc_root`.
    pub fn new(probes: P, proc_root: PathBuf, readers: Readers) -> Self {
        Self {
            probes,
            proc_root,
            readers,
            shares: Shares::default(),
            files: HashMap::new(),
            homes: HashMap::new(),
            refused: Refused::default(),
        }
    }

    /// What cannot be probed, as of the last look.
    pub fn refused(&self) -> Refused {
        self.refused.clone()
    }

    /// Looks at every process of the targets; what no process runs any more is left.
    pub fn look(&mut self, targets: &[Target], hierarchy: &Hierarchy) {
        self.settle(targets);
        self.shares.keep_only(|id| targets.iter().any(|target| target.id == id));
        let mut running: HashSet<(FileId, TargetId)> = HashSet::new();
        let mut unknown: HashSet<TargetId> = HashSet::new();
        for target in targets {
            match self.look_at(target, hierarchy) {
                Ok(found) => running.extend(found.into_iter().map(|id| (id, target.id))),
                Err(error) => {
                    // What was known of it stays.
                    unknown.insert(target.id);
                    let container = target.labels.container.as_str();
                    tracing::debug!(
                        container,
                        error = format!("{error:#}"),
                        "executables cannot be looked at"
                    );
                }
            }
        }
        for (id, known) in &mut self.files {
            known.targets.retain(|target| running.contains(&(*id, *target)) || unknown.contains(target));
            if known.probed.is_some() && known.targets.is_empty() {
                known.probed = None;
                tracing::debug!(inode = id.inode(), "no process of a target runs this Node.js any more");
            }
        }
        if self.files.len() > REMEMBERED {
            self.files.retain(|_, known| !known.targets.is_empty());
        }
        self.publish();
    }

    /// Looks at one process, which has just begun to run its executable: its target, where that is Node.js.
    pub fn started(&mut self, pid: u32, targets: &[Target]) -> Option<TargetId> {
        let target = self.target_of(pid).or_else(|| {
            self.settle(targets);
            self.target_of(pid)
        })?;
        let executed = self.readers.executed(target, &[pid]).ok()?.pop()??;
        let id = self.take(target, pid, executed.id)?;
        self.publish();
        self.files.get(&id).is_some_and(|known| known.is_node).then_some(target)
    }

    /// The files that the processes of a target run.
    fn look_at(&mut self, target: &Target, hierarchy: &Hierarchy) -> anyhow::Result<Vec<FileId>> {
        let mut running = Vec::new();
        for cgroup in &target.cgroups {
            for pids in hierarchy.members(&cgroup.path)?.chunks(MOST_AT_ONCE) {
                let executed = self.readers.executed(target.id, pids)?;
                for (pid, executed) in pids.iter().zip(executed) {
                    running.extend(executed.and_then(|executed| self.take(target.id, *pid, executed.id)));
                }
            }
        }
        Ok(running)
    }

    fn settle(&mut self, targets: &[Target]) {
        let homes = targets
            .iter()
            .flat_map(|target| target.cgroups.iter().map(|cgroup| (cgroup.path.clone(), target.id)));
        self.homes = homes.collect();
    }

    fn target_of(&self, pid: u32) -> Option<TargetId> {
        let Membership::Inside(path) = cgroup::of_process(&self.proc_root, pid)? else { return None };
        path.ancestors().find_map(|path: &Path| self.homes.get(path).copied())
    }

    /// Probes the file that a process runs unless that is done; which it is, where it could be told.
    fn take(&mut self, target: TargetId, pid: u32, id: FileId) -> Option<FileId> {
        if let Some(known) = self.files.get_mut(&id)
            && (!known.is_node || known.probed.is_some())
        {
            known.targets.insert(target);
            return Some(id);
        }
        if !self.shares.may_read(target, Instant::now()) {
            self.readers.over_budget().note(target, "executables");
            return None;
        }
        if let Some(probed) = self.under_another_device(target, pid, id) {
            self.remember(id, target, true, Some(probed));
            return Some(id);
        }
        match self.readers.executable(target, pid) {
            Ok(found) => self.found(target, pid, found),
            Err(error) => {
                tracing::debug!(pid, %error, "an executable cannot be read");
                if let CannotLook::Refused(_) = error {
                    // It would be the same again; a file that changes is another one.
                    self.shares.has_read(target, UNREADABLE_BYTES, Instant::now());
                    self.remember(id, target, false, None);
                }
                None
            }
        }
    }

    /// Takes in what was read. It is another file than was asked for where the process has gone on to run another.
    fn found(&mut self, target: TargetId, pid: u32, found: Found) -> Option<FileId> {
        let Found { id, reading, file } = found;
        self.shares.has_read(target, reading.bytes, Instant::now());
        let probed = match reading.executable.zip(file) {
            None => None,
            Some(_) if self.probed_of(target) >= PROBED_OF_TARGET => {
                self.readers.over_budget().note(target, "executables");
                return None;
            }
            Some((executable, file)) => Some(Arc::new(self.probe(pid, file.as_fd(), executable))),
        };
        self.remember(id, target, probed.is_some(), probed);
        Some(id)
    }

    fn remember(
        &mut self,
        id: FileId,
        target: TargetId,
        is_node: bool,
        probed: Option<Arc<Probed<P::Links>>>,
    ) {
        let known = Known { is_node, probed, targets: HashSet::new() };
        let known = self.files.entry(id).insert_entry(known).into_mut();
        known.targets.insert(target);
    }

    fn probed_of(&self, target: TargetId) -> usize {
        self.files.values().filter(|known| known.probed.is_some() && known.targets.contains(&target)).count()
    }

    /// The probes of the same file under another device, as containers see a layer that they share: the same by what can be
    /// told of it, and the kernel has put those probes into this process.
    fn under_another_device(&self, target: TargetId, pid: u32, id: FileId) -> Option<Arc<Probed<P::Links>>> {
        let alike = self.files.iter().filter(|(other, _)| other.version == id.version);
        let probed: Vec<_> = alike.filter_map(|(_, known)| known.probed.as_ref()).collect();
        let there =
            |probed: &&&Arc<Probed<P::Links>>| self.readers.in_place(target, pid, &probed.points) == Ok(true);
        probed.iter().find(there).map(|probed| Arc::clone(probed))
    }

    fn probe(&self, pid: u32, file: BorrowedFd<'_>, executable: Executable) -> Probed<P::Links> {
        let (links, mut refused) = self.probes.probe(file, &executable.points);
        let missing = executable.missing.into_iter();
        refused.extend(missing.map(|missing| (missing.probe, missing.reason.into_owned())));
        tracing::info!(
            pid,
            points = executable.points.len(),
            refused = refused.len(),
            "probing an executable of Node.js"
        );
        let points = executable.points.into_iter();
        let points = points.filter(|point| !refused.iter().any(|(probe, _)| *probe == point.probe)).collect();
        Probed { _links: links, points, refused }
    }

    fn publish(&self) {
        let probed = self.files.values().filter_map(|known| known.probed.as_ref());
        let refused = probed.flat_map(|probed| probed.refused.iter().cloned()).collect();
        *self.refused.0.write().unwrap_or_else(PoisonError::into_inner) = refused;
    }
}
