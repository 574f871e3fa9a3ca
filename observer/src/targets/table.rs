//! The targets' lives: attached, gone and lingering, back again, refused. Told what is matched, it attaches and
//! detaches through [`Attacher`]. A target keeps its number while it is called otherwise, and when it comes back.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Attacher, Cgroup, Identity, RefusedProgram, Target, TargetId,
    entry::Entry,
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
    target: TargetId,
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

/// All targets of one agent.
#[derive(Debug)]
pub(super) struct Table<A: Attacher> {
    attacher: A,
    hierarchy: Hierarchy,
    linger: Duration,
    last_id: TargetId,
    entries: BTreeMap<TargetId, Entry>,
    by_identity: HashMap<Identity, TargetId>,
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
            entries: BTreeMap::new(),
            by_identity: HashMap::new(),
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

    /// All cgroups that are attached to.
    pub(super) fn attached(&self) -> impl Iterator<Item = &Cgroup> {
        self.entries.values().flat_map(|entry| &entry.cgroups)
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
        self.entries.values().map(Entry::target).collect()
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
            if instance.id == cgroup.id {
                instance.selector = found.selector;
                let target = instance.target;
                self.present(target, found);
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

    /// Shows a target under what it is called now. Its number stays, and with it what is attached and counted.
    fn present(&mut self, target: TargetId, found: Match) {
        let Some(entry) = self.entries.get_mut(&target) else { return };
        if entry.labels != found.labels {
            tracing::info!(
                container = found.labels.container,
                app = found.labels.app,
                before = ?entry.labels,
                "a target is called otherwise"
            );
            entry.labels = found.labels;
        }
        entry.info = found.info;
        // Another source knows it too, and its selector stands before: that is its identity when it comes back.
        if entry.identity != found.identity && !self.by_identity.contains_key(&found.identity) {
            self.by_identity.remove(&entry.identity);
            self.by_identity.insert(found.identity.clone(), target);
            entry.identity = found.identity;
        }
    }

    /// The number for a workload: its own, else that of one that has gone and was called the same (a container that is
    /// made anew under its name), else a new one.
    fn number(&mut self, found: &Match) -> TargetId {
        if let Some(id) = self.by_identity.get(&found.identity) {
            return *id;
        }
        let was_it = |entry: &&mut Entry| {
            entry.is_gone() && entry.labels == found.labels && entry.identity.source == found.identity.source
        };
        if let Some(entry) = self.entries.values_mut().find(was_it) {
            self.by_identity.remove(&entry.identity);
            self.by_identity.insert(found.identity.clone(), entry.id);
            entry.identity = found.identity.clone();
            return entry.id;
        }
        self.last_id + 1
    }

    fn attach(&mut self, cgroup: Cgroup, found: Match, now: Instant) {
        let id = self.number(&found);
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
        self.last_id = self.last_id.max(id);
        let populated = matches!(self.hierarchy.populated(&cgroup.path), Ok(Some(true)));
        self.by_identity.insert(found.identity.clone(), id);
        let entry = self.entries.entry(id).or_insert_with(|| Entry::new(id, &found));
        entry.attached(cgroup.clone(), populated);
        let instance =
            Instance { target: id, selector: found.selector, id: cgroup.id, _attachment: attachment };
        self.instances.insert(cgroup.path, instance);
        self.present(id, found);
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
        let Some(entry) = self.entries.get_mut(&instance.target) else {
            return;
        };
        if entry.detached(&Cgroup { path: path.to_owned(), id: instance.id }, now) {
            tracing::info!(
                container = entry.labels.container,
                app = entry.labels.app,
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

    /// Takes note of whether a cgroup has processes, at the moment when that changed.
    pub(super) fn populated(&mut self, cgroup: u64, populated: bool) {
        let whose = self.entries.values_mut().find(|entry| entry.cgroups.iter().any(|it| it.id == cgroup));
        if let Some(entry) = whose {
            let others = entry.cgroups.iter().filter(|it| it.id != cgroup);
            let populated = if populated { Some(true) } else { any_populated(&self.hierarchy, others) };
            if let Some(populated) = populated {
                entry.populated(populated);
            }
        }
    }

    /// Takes note of which targets have processes, as of a look at everything.
    fn follow_population(&mut self) {
        let Self { entries, hierarchy, .. } = self;
        for entry in entries.values_mut().filter(|entry| !entry.is_gone()) {
            if let Some(populated) = any_populated(hierarchy, entry.cgroups.iter()) {
                entry.populated(populated);
            }
            entry.found();
        }
    }

    /// Drops targets that have lingered. While another one lives that is called the same, the two are shown as one, whose
    /// counters would go down without the part of the one that has gone.
    fn forget_lingered(&mut self, now: Instant) {
        let Self { attacher, entries, by_identity, linger, .. } = self;
        let living: HashSet<_> =
            entries.values().filter(|entry| !entry.is_gone()).map(|entry| entry.labels.clone()).collect();
        entries.retain(|id, entry| {
            let lingered = entry.has_lingered(*linger, now) && !living.contains(&entry.labels);
            if lingered {
                attacher.forget(*id);
                by_identity.remove(&entry.identity);
            }
            !lingered
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

/// Whether one of them has a process; `None` where that cannot be told now, which is neither an end nor a start.
fn any_populated<'a>(hierarchy: &Hierarchy, cgroups: impl IntoIterator<Item = &'a Cgroup>) -> Option<bool> {
    let mut told = Some(false);
    for cgroup in cgroups {
        match hierarchy.populated(&cgroup.path) {
            Ok(Some(true)) => return Some(true),
            Ok(_) => {}
            Err(_) => told = None,
        }
    }
    told
}

#[cfg(test)]
mod tests;
