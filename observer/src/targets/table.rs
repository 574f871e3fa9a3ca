//! The targets' lives: attached, gone and lingering, back again, refused. Told what is matched, it attaches and
//! detaches through [`Attacher`] and keeps each target's number and count of restarts for as long as its labels live.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Attacher, Cgroup, Info, Labels, RefusedProgram, Target, TargetId,
    matching::{Match, SelectorIndex},
};
use crate::cgroup::Hierarchy;

/// Wait before the second attempt to attach; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest wait between two attempts.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// A cgroup that is attached to.
#[derive(Debug)]
pub(super) struct Instance<Attachment> {
    pub(super) labels: Labels,
    pub(super) selector: SelectorIndex,
    id: u64,
    /// Held for its drop, which detaches.
    _attachment: Attachment,
}

/// A cgroup that is matched and not observed.
#[derive(Debug)]
pub(super) struct Failure {
    /// For the operator.
    pub(super) reason: String,
    /// Where the cgroup does not admit one of the programs.
    refused: Option<RefusedProgram>,
    /// The cgroup's id at that time; 0 where there is none.
    id: u64,
    attempts: u32,
    retry_at: Option<Instant>,
    /// In which pass it was last seen.
    pass: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Life {
    /// Attached; no process was seen in it so far.
    New,
    /// Attached, with a process.
    Live,
    /// Attached; its processes have ended.
    Empty,
    /// Without a cgroup since then.
    Gone(Instant),
}

#[derive(Debug)]
struct Entry {
    id: TargetId,
    info: Info,
    cgroups: Vec<Cgroup>,
    restarts: u64,
    life: Life,
}

/// All targets of one agent.
#[derive(Debug)]
pub(super) struct Table<A: Attacher> {
    attacher: A,
    hierarchy: Hierarchy,
    linger: Duration,
    last_id: TargetId,
    entries: HashMap<Labels, Entry>,
    instances: BTreeMap<PathBuf, Instance<A::Attachment>>,
    failures: BTreeMap<(SelectorIndex, PathBuf), Failure>,
    pass: u64,
}

impl<A: Attacher> Table<A> {
    pub(super) fn new(attacher: A, hierarchy: Hierarchy, linger: Duration) -> Self {
        Self {
            attacher,
            hierarchy,
            linger,
            last_id: 0,
            entries: HashMap::new(),
            instances: BTreeMap::new(),
            failures: BTreeMap::new(),
            pass: 0,
        }
    }

    pub(super) fn instances(&self) -> &BTreeMap<PathBuf, Instance<A::Attachment>> {
        &self.instances
    }

    pub(super) fn failures(&self) -> &BTreeMap<(SelectorIndex, PathBuf), Failure> {
        &self.failures
    }

    /// Programs that some cgroup does not admit, each once.
    pub(super) fn refused_programs(&self) -> BTreeSet<RefusedProgram> {
        self.failures.values().filter_map(|failure| failure.refused).collect()
    }

    /// How many targets are attached to or linger.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All targets, by their number.
    pub(super) fn targets(&self) -> Arc<[Target]> {
        let target = |(labels, entry): (&Labels, &Entry)| Target {
            id: entry.id,
            labels: labels.clone(),
            info: entry.info.clone(),
            cgroups: entry.cgroups.clone(),
            restarts: entry.restarts,
        };
        let mut targets: Vec<Target> = self.entries.iter().map(target).collect();
        targets.sort_unstable_by_key(|target| target.id);
        targets.into()
    }

    /// Takes over everything that is matched at this moment; what is not among it leaves.
    pub(super) fn reconcile(&mut self, matched: Vec<(Cgroup, Match)>, now: Instant) {
        let keep: HashSet<&Path> = matched.iter().map(|(cgroup, _)| cgroup.path.as_path()).collect();
        let leaving = self.instances.keys().filter(|path| !keep.contains(path.as_path()));
        for path in leaving.cloned().collect::<Vec<PathBuf>>() {
            self.leave(&path, now);
        }
        for (cgroup, found) in innermost_first(matched) {
            self.observe(cgroup, found, now);
        }
        self.follow_population();
        self.failures.retain(|_, failure| failure.pass == self.pass);
        self.pass += 1;
        self.forget_lingered(now);
    }

    /// Attaches to a cgroup, unless that is done already, is not due again yet, or is counted with an outer one.
    pub(super) fn observe(&mut self, cgroup: Cgroup, found: Match, now: Instant) {
        if let Some(instance) = self.instances.get_mut(&cgroup.path) {
            if instance.id == cgroup.id && instance.labels == found.labels {
                instance.selector = found.selector;
                if let Some(entry) = self.entries.get_mut(&found.labels) {
                    entry.info = found.info;
                }
                return;
            }
            self.leave(&cgroup.path, now);
        }
        let key = (found.selector, cgroup.path.clone());
        if let Some(failure) = self.failures.get_mut(&key) {
            failure.pass = self.pass;
            if failure.id == cgroup.id && failure.retry_at.is_some_and(|at| now < at) {
                return;
            }
        }
        if self.counted_with_outer(&cgroup.path, found.selector) {
            return;
        }
        self.attach(cgroup, found, now);
    }

    fn attach(&mut self, cgroup: Cgroup, found: Match, now: Instant) {
        let known = self.entries.get(&found.labels).map(|entry| entry.id);
        let id = known.unwrap_or_else(|| {
            self.last_id += 1;
            self.last_id
        });
        let key = (found.selector, cgroup.path.clone());
        let attachment = match self.attacher.attach(id, &cgroup) {
            Ok(attachment) => attachment,
            Err(_) if self.hierarchy.get(&cgroup.path).as_ref() != Some(&cgroup) => {
                tracing::debug!(cgroup = %cgroup.path.display(), "the cgroup was removed while attaching to it");
                self.failures.remove(&key);
                return;
            }
            Err(error) => {
                let refused = self.attacher.refused(&error);
                return self.fail(key, cgroup.id, (format!("{error:#}"), refused), Some(now));
            }
        };
        self.failures.remove(&key);
        tracing::info!(
            container = found.labels.container,
            app = found.labels.app,
            cgroup = %cgroup.path.display(),
            "observing a target"
        );
        let entry = self.entries.entry(found.labels.clone()).or_insert(Entry {
            id,
            info: Info::default(),
            cgroups: Vec::new(),
            restarts: 0,
            life: Life::New,
        });
        entry.info = found.info;
        if matches!(entry.life, Life::Gone(_)) {
            entry.restarts += 1;
            entry.life = Life::New;
        }
        entry.cgroups.push(cgroup.clone());
        let instance = Instance {
            labels: found.labels,
            selector: found.selector,
            id: cgroup.id,
            _attachment: attachment,
        };
        self.instances.insert(cgroup.path, instance);
    }

    /// Whether the same selector observes a cgroup that holds this one: a glob may match a unit and the units inside
    /// it, which are one target. Those of different selectors are all observed; the kernel half gives a connection
    /// to the innermost.
    fn counted_with_outer(&self, path: &Path, selector: SelectorIndex) -> bool {
        let mut outer = path.ancestors().skip(1).filter_map(|outer| self.instances.get(outer));
        outer.any(|instance| instance.selector == selector)
    }

    /// Takes note of a match that is not to be attached to whatever is tried.
    pub(super) fn refuse(&mut self, selector: SelectorIndex, path: &Path, reason: String) {
        self.fail((selector, path.to_owned()), 0, (reason, None), None);
    }

    /// `tried` is when an attempt failed that another one shall follow.
    fn fail(
        &mut self,
        key: (SelectorIndex, PathBuf),
        id: u64,
        (reason, refused): (String, Option<RefusedProgram>),
        tried: Option<Instant>,
    ) {
        let before = self.failures.get(&key);
        if before.is_none_or(|before| before.reason != reason) {
            tracing::warn!(cgroup = %key.1.display(), reason, "a matched target cannot be observed");
        }
        let attempts = before.filter(|before| before.id == id).map_or(0, |before| before.attempts);
        let wait = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(attempts)).min(LONGEST_RETRY);
        let failure = Failure {
            reason,
            refused,
            id,
            attempts: attempts + 1,
            retry_at: tried.map(|tried| tried + wait),
            pass: self.pass,
        };
        self.failures.insert(key, failure);
    }

    /// Detaches from a cgroup; its target lingers when that was its last one.
    pub(super) fn leave(&mut self, path: &Path, now: Instant) {
        let Some(instance) = self.instances.remove(path) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&instance.labels) else {
            return;
        };
        entry.cgroups.retain(|cgroup| cgroup.path != path);
        if entry.cgroups.is_empty() {
            entry.life = Life::Gone(now);
            tracing::info!(
                container = instance.labels.container,
                app = instance.labels.app,
                linger = ?self.linger,
                "a target has gone; its series stay for a while"
            );
        }
    }

    /// Detaches from the cgroup of this path if it is still the one with this id. The path may begin above the hierarchy
    /// that the agent sees.
    pub(super) fn leave_if(&mut self, path: &Path, id: u64, now: Instant) -> bool {
        let same = |known: &&PathBuf| path.ends_with(known.strip_prefix("/").unwrap_or(known));
        let mut with_id =
            self.instances.iter().filter(|(_, instance)| instance.id == id).map(|(known, _)| known);
        let Some(known) = with_id.find(same).cloned() else { return false };
        self.leave(&known, now);
        true
    }

    /// A cgroup that was made once and is used again and again shows a restart only by running empty between.
    fn follow_population(&mut self) {
        for entry in self.entries.values_mut() {
            let populated = entry.cgroups.iter().any(|it| self.hierarchy.populated(&it.path) == Some(true));
            match (&entry.life, populated) {
                (Life::New, true) => entry.life = Life::Live,
                (Life::Live, false) => entry.life = Life::Empty,
                (Life::Empty, true) => {
                    entry.restarts += 1;
                    entry.life = Life::Live;
                }
                _ => {}
            }
        }
    }

    fn forget_lingered(&mut self, now: Instant) {
        let Self { attacher, entries, linger, .. } = self;
        entries.retain(|_, entry| match entry.life {
            Life::Gone(since) if now.duration_since(since) >= *linger => {
                attacher.forget(entry.id);
                false
            }
            _ => true,
        });
    }
}

/// In the order in which to attach: whoever attaches first takes in the connections that are open already, and
/// those belong to the innermost target. What an outer cgroup of the same selector holds is left out.
fn innermost_first(mut matched: Vec<(Cgroup, Match)>) -> Vec<(Cgroup, Match)> {
    let by_selector: HashSet<(SelectorIndex, PathBuf)> =
        matched.iter().map(|(cgroup, found)| (found.selector, cgroup.path.clone())).collect();
    matched.retain(|(cgroup, found)| {
        let mut outer = cgroup.path.ancestors().skip(1);
        !outer.any(|outer| by_selector.contains(&(found.selector, outer.to_owned())))
    });
    matched.sort_by_key(|(cgroup, _)| Reverse(cgroup.path.components().count()));
    matched
}

#[cfg(test)]
mod tests;
