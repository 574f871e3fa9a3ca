//! What all sources have said, joined by cgroup: each source's workloads under its own name, and where each is.
//! Bounded: a source that tells of ever more is cut off, and says no more than its own.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use super::{
    Cgroup,
    source::{Kind, Place, Workload},
    sources::names,
};
use crate::cgroup::{self, Membership};

/// Workloads of one source at the most; a host has a tenth of it.
const MOST: usize = 16_384;

/// A workload by its source, in the order of the sources, and its id.
pub(super) type Key = (usize, String);

/// What is known at this moment.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    sources: Vec<Known>,
    /// By where they are.
    at: HashMap<PathBuf, Vec<Key>>,
    /// Cgroups that are named by a container's id.
    by_container: HashMap<String, Cgroup>,
    /// Apps of cgroups that were recognised by their processes.
    pub(super) apps: HashMap<PathBuf, String>,
}

#[derive(Debug)]
struct Known {
    name: &'static str,
    /// In the order of their ids, so that what is chosen of several does not change from look to look.
    workloads: BTreeMap<String, (Workload, Option<PathBuf>)>,
    /// What was said of it already, once.
    full: bool,
    lies: bool,
}

impl Knowledge {
    /// Of these sources.
    pub(super) fn new(sources: impl IntoIterator<Item = &'static str>) -> Self {
        let known = |name| Known { name, workloads: BTreeMap::new(), full: false, lies: false };
        Self { sources: sources.into_iter().map(known).collect(), ..Self::default() }
    }

    /// The name of a source.
    pub(super) fn name(&self, source: usize) -> &'static str {
        self.sources[source].name
    }

    /// Takes over all that a source knows; whether anything is otherwise than before.
    pub(super) fn replace(&mut self, source: usize, workloads: Vec<Workload>) -> bool {
        let known = &mut self.sources[source];
        let gone: Vec<String> = {
            let kept: HashSet<&str> = workloads.iter().map(|workload| workload.id.as_str()).collect();
            known.workloads.keys().filter(|id| !kept.contains(id.as_str())).cloned().collect()
        };
        let mut changed = !gone.is_empty();
        for id in gone {
            self.remove(source, &id);
        }
        for workload in workloads {
            changed |= self.insert(source, workload);
        }
        changed
    }

    /// Takes over one; whether anything is otherwise than before.
    pub(super) fn insert(&mut self, source: usize, workload: Workload) -> bool {
        let known = &mut self.sources[source];
        if known.workloads.get(&workload.id).is_some_and(|(before, _)| *before == workload) {
            return false;
        }
        if known.workloads.len() >= MOST && !known.workloads.contains_key(&workload.id) {
            if !std::mem::replace(&mut known.full, true) {
                tracing::warn!(
                    source = known.name,
                    most = MOST,
                    "a source tells of too many workloads; others than the first are left out"
                );
            }
            return false;
        }
        self.remove(source, &workload.id);
        self.sources[source].workloads.insert(workload.id.clone(), (workload, None));
        true
    }

    /// Changes one in place, where it is known.
    pub(super) fn change(&mut self, source: usize, id: &str, change: impl FnOnce(&mut Workload)) {
        if let Some((workload, _)) = self.sources[source].workloads.get_mut(id) {
            change(workload);
        }
    }

    /// Forgets one; returns where it was.
    pub(super) fn remove(&mut self, source: usize, id: &str) -> Option<PathBuf> {
        let (_, place) = self.sources[source].workloads.remove(id)?;
        self.displace(source, id, place)
    }

    fn displace(&mut self, source: usize, id: &str, place: Option<PathBuf>) -> Option<PathBuf> {
        let place = place?;
        if let Some(keys) = self.at.get_mut(&place) {
            keys.retain(|key| (key.0, key.1.as_str()) != (source, id));
            if keys.is_empty() {
                self.at.remove(&place);
            }
        }
        Some(place)
    }

    pub(super) fn get(&self, source: usize, id: &str) -> Option<&Workload> {
        self.sources[source].workloads.get(id).map(|(workload, _)| workload)
    }

    /// All workloads, in the order of the sources.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &Workload, Option<&Path>)> {
        self.sources.iter().enumerate().flat_map(|(source, known)| {
            known.workloads.values().map(move |(workload, place)| (source, workload, place.as_deref()))
        })
    }

    /// What is known of a cgroup, in the order of the sources.
    pub(super) fn at(&self, cgroup: &Path) -> impl Iterator<Item = (usize, &Workload)> {
        let keys = self.at.get(cgroup).into_iter().flatten();
        keys.filter_map(|(source, id)| Some((*source, self.get(*source, id)?)))
    }

    /// The container whose own cgroup this is.
    pub(super) fn container(&self, cgroup: &Path) -> Option<(usize, &Workload)> {
        self.at(cgroup).find(|(_, workload)| workload.kind == Kind::Container)
    }

    /// The cgroup to observe for a process in `cgroup`: that of its container, else of its unit, else its own.
    fn home<'path>(&self, cgroup: &'path Path) -> &'path Path {
        let is_container =
            |path: &&Path| self.container(path).is_some() || names::id_of_cgroup(path).is_some();
        let container = cgroup.ancestors().find(is_container);
        let unit = || cgroup.ancestors().find(|path| names::unit_of_cgroup(path).is_some());
        container.or_else(unit).unwrap_or(cgroup)
    }

    /// A cgroup was made. Whether it is of a container that no source has told of, and that should be asked for.
    pub(super) fn created(&mut self, cgroup: &Cgroup) {
        if let Some(id) = names::id_of_cgroup(&cgroup.path) {
            self.by_container.insert(id.to_owned(), cgroup.clone());
            for source in 0..self.sources.len() {
                if self.get(source, id).is_some() {
                    self.place(source, id, Path::new(""));
                }
            }
        }
    }

    /// A cgroup was removed.
    pub(super) fn removed(&mut self, path: &Path, id: u64) {
        let Some(container) = names::id_of_cgroup(path) else { return };
        if self.by_container.get(container).is_some_and(|cgroup| cgroup.id == id) {
            self.by_container.remove(container);
        }
    }

    /// The cgroup that is named by a container's id.
    pub(super) fn named(&self, id: &str) -> Option<&Cgroup> {
        self.by_container.get(id)
    }

    /// Places all workloads anew among these cgroups.
    pub(super) fn place_all(&mut self, cgroups: &[Cgroup], proc_root: &Path) {
        let container =
            |cgroup: &Cgroup| Some((names::id_of_cgroup(&cgroup.path)?.to_owned(), cgroup.clone()));
        self.by_container = cgroups.iter().filter_map(container).collect();
        let keys: Vec<(Key, bool)> = self
            .all()
            .map(|(source, workload, _)| {
                ((source, workload.id.clone()), matches!(workload.place, Place::Around(_)))
            })
            .collect();
        // Those first by which others are placed.
        for around in [false, true] {
            for ((source, id), _) in keys.iter().filter(|(_, is)| *is == around) {
                self.place(*source, id, proc_root);
            }
        }
    }

    /// Finds out where a workload is; returns it, where that is known.
    pub(super) fn place(&mut self, source: usize, id: &str, proc_root: &Path) -> Option<PathBuf> {
        let (workload, before) = self.sources[source].workloads.get(id)?;
        let (before, is_around) = (before.clone(), matches!(workload.place, Place::Around(_)));
        let place = match &workload.place {
            Place::Cgroup(path) => Some(path.clone()),
            Place::Around(path) => Some(self.home(path).to_owned()),
            Place::Unobservable { .. } => None,
            Place::NamedById { first_process } => match self.by_container.get(id) {
                Some(cgroup) => Some(cgroup.path.clone()),
                None => match first_process.and_then(|pid| cgroup::of_process(proc_root, pid)) {
                    Some(Membership::Inside(path)) if path != Path::new("/") => Some(path),
                    _ => None,
                },
            },
        };
        if place == before {
            return place;
        }
        self.displace(source, id, before);
        if let Some(place) = &place {
            let keys = self.at.entry(place.clone()).or_default();
            let other = keys.iter().find(|(other, _)| *other == source && !is_around);
            let known = &mut self.sources[source];
            if let Some((_, other)) = other
                && !std::mem::replace(&mut known.lies, true)
            {
                tracing::warn!(
                    source = known.name,
                    cgroup = %place.display(),
                    one = other,
                    other = id,
                    "a source says that two workloads are in one cgroup; the first of them counts"
                );
            }
            keys.push((source, id.to_owned()));
            keys.sort_unstable();
        }
        if let Some((_, known)) = self.sources[source].workloads.get_mut(id) {
            known.clone_from(&place);
        }
        place
    }
}
