//! What all sources together know now: cgroups, containers, processes, and which of them the selectors match.
//! Looks and never changes anything; the inventory and `observer targets` both ask it.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    Cgroup, Settings,
    apps::Apps,
    containers::{self, Container},
    docker::{Request, Update},
    matching::{Knowledge, Match, Rules, SelectorIndex},
    processes::Scanner,
    selector::Matcher,
};
use crate::{
    cgroup::{self, Hierarchy, Membership},
    profiles::Profiles,
};

/// A process that is matched and cannot be observed where it is.
pub(super) struct Refusal {
    pub(super) selector: SelectorIndex,
    pub(super) path: PathBuf,
    pub(super) reason: String,
}

/// The outcome of a look at everything.
#[derive(Default)]
pub(super) struct Survey {
    /// Matched cgroups, parents first.
    pub(super) matched: Vec<(Cgroup, Match)>,
    /// Matches of selectors that came after the one that counts.
    pub(super) passed_over: Vec<(SelectorIndex, Cgroup)>,
    /// Matches that lead nowhere.
    pub(super) refused: Vec<Refusal>,
    /// What should be asked of Docker.
    pub(super) questions: Vec<Request>,
}

/// The sources.
#[derive(Debug)]
pub(super) struct World {
    rules: Rules,
    hierarchy: Hierarchy,
    proc_root: PathBuf,
    scanner: Scanner,
    apps: Apps,
    knowledge: Knowledge,
    /// Cgroups that are named by a container's id.
    by_container: HashMap<String, Cgroup>,
    /// Containers whose first process was asked for, so that it is asked once.
    asked: HashSet<String>,
}

impl World {
    pub(super) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let hierarchy = Hierarchy::find(&settings.proc_root)?;
        let profiles = Profiles::load(&settings.profile_files)?;
        Ok(Self {
            apps: Apps::new(&settings.proc_root, &profiles),
            rules: Rules::new(settings.selectors.clone(), profiles)?,
            hierarchy,
            proc_root: settings.proc_root.clone(),
            scanner: Scanner::new(&settings.proc_root, &settings.selectors),
            knowledge: Knowledge::default(),
            by_container: HashMap::new(),
            asked: HashSet::new(),
        })
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    pub(super) fn containers(&self) -> usize {
        self.knowledge.containers.len()
    }

    /// Whether labels depend on what Docker says, so that a first look should wait for it.
    pub(super) fn needs_containers(&self) -> bool {
        let selectors = self.rules.selectors();
        let by_path = |matcher: &Matcher| matches!(matcher, Matcher::Cgroup(_) | Matcher::Unit(_));
        selectors.is_empty() || selectors.iter().any(|selector| !by_path(&selector.matcher))
    }

    /// Takes over what Docker says. Returns the cgroup that it is about, where one is known.
    pub(super) fn learn(&mut self, update: Update) -> Option<Cgroup> {
        match update {
            Update::All(containers) => {
                let by_id = containers.into_iter().map(|container| (container.id.clone(), container));
                self.knowledge.containers = by_id.collect();
                self.asked.clear();
                None
            }
            Update::Changed(container) => {
                let id = container.id.clone();
                if !container.running {
                    self.asked.remove(&id);
                }
                let known = self.by_container.get(&id).cloned();
                self.knowledge.containers.insert(id, container);
                known
            }
            Update::Stopped(id) => {
                if let Some(container) = self.knowledge.containers.get_mut(&id) {
                    container.running = false;
                    container.init = None;
                }
                self.asked.remove(&id);
                None
            }
            Update::Deleted(id) => {
                self.knowledge.containers.remove(&id);
                self.asked.remove(&id);
                None
            }
            Update::Unreachable => None,
        }
    }

    /// Takes note of a new cgroup. Returns what to ask of Docker, where it is a container that is not known.
    pub(super) fn created(&mut self, cgroup: &Cgroup) -> Option<Request> {
        let id = containers::id_of_cgroup(&cgroup.path)?;
        self.by_container.insert(id.to_owned(), cgroup.clone());
        (!self.knowledge.containers.contains_key(id)).then(|| Request::Describe(id.to_owned()))
    }

    /// Takes note of a cgroup's end.
    pub(super) fn removed(&mut self, path: &Path, id: u64) {
        let Some(container) = containers::id_of_cgroup(path) else {
            return;
        };
        if self.by_container.get(container).is_some_and(|cgroup| cgroup.id == id) {
            self.by_container.remove(container);
        }
    }

    /// All selectors that match this cgroup, in the operator's order.
    pub(super) fn matching(&self, cgroup: &Cgroup) -> Vec<SelectorIndex> {
        self.rules.matching(&cgroup.path, &self.knowledge)
    }

    pub(super) fn describe(&self, selector: SelectorIndex, cgroup: &Cgroup) -> Match {
        self.rules.describe(selector, &cgroup.path, &self.knowledge)
    }

    /// Looks at everything: one walk of the hierarchy, and one pass over /proc if a selector needs it.
    pub(super) fn survey(&mut self, now: Instant) -> Survey {
        let mut survey = Survey::default();
        let cgroups = self.hierarchy.walk();
        let containers = cgroups
            .iter()
            .filter_map(|cgroup| Some((containers::id_of_cgroup(&cgroup.path)?.to_owned(), cgroup.clone())));
        self.by_container = containers.collect();
        self.locate_unnamed(&mut survey);
        self.locate_processes(&mut survey, now);
        // Asked again below, of those that nothing else tells of.
        self.knowledge.apps.clear();
        for cgroup in cgroups {
            let mut selectors = self.matching(&cgroup).into_iter();
            let Some(first) = selectors.next() else { continue };
            let found = self.describe(first, &cgroup);
            survey.passed_over.extend(selectors.map(|selector| (selector, cgroup.clone())));
            survey.matched.push((cgroup, found));
        }
        self.recognise(&mut survey, now);
        survey
    }

    /// Names the apps of targets that neither a selector nor an image tells of.
    fn recognise(&mut self, survey: &mut Survey, now: Instant) {
        let without = survey.matched.iter().filter(|(_, found)| found.labels.app.is_empty());
        let unknown: Vec<Cgroup> = without.map(|(cgroup, _)| cgroup.clone()).collect();
        self.knowledge.apps = self.apps.find(&unknown, &self.hierarchy, self.rules.profiles(), now);
        for (cgroup, found) in &mut survey.matched {
            if found.labels.app.is_empty() {
                *found = self.rules.describe(found.selector, &cgroup.path, &self.knowledge);
            }
        }
    }

    /// Running containers whose cgroup is not named by their id (podman with `--cgroups=split`, for one) are found by
    /// their first process.
    fn locate_unnamed(&mut self, survey: &mut Survey) {
        self.knowledge.unnamed.clear();
        let running =
            |container: &&Container| container.running && !self.by_container.contains_key(&container.id);
        for container in self.knowledge.containers.values().filter(running) {
            match container.init.and_then(|pid| cgroup::of_process(&self.proc_root, pid)) {
                Some(Membership::Inside(path)) if path != Path::new("/") => {
                    self.knowledge.unnamed.insert(path, container.id.clone());
                }
                None if self.asked.insert(container.id.clone()) => {
                    survey.questions.push(Request::InitProcess(container.id.clone()));
                }
                Some(_) | None => {}
            }
        }
    }

    fn locate_processes(&mut self, survey: &mut Survey, now: Instant) {
        self.knowledge.by_process.clear();
        for process in self.scanner.scan(now) {
            let refuse = |path: &Path, reason: String| Refusal {
                selector: process.selector,
                path: path.to_owned(),
                reason,
            };
            let Some(cgroup) = &process.cgroup else {
                let reason = format!(
                    "process {} is outside of the agent's cgroup namespace; run the agent in that of the host \
                     (`docker run --cgroupns=host`)",
                    process.pid
                );
                survey.refused.push(refuse(Path::new("/.."), reason));
                continue;
            };
            let home = self.knowledge.home(cgroup);
            if home == Path::new("/") {
                let reason = format!(
                    "process {} is in the root cgroup, and attaching there would observe the whole host; start it in \
                     a cgroup of its own (`systemd-run --scope COMMAND`), or give `cgroup:/` to observe the host",
                    process.pid
                );
                survey.refused.push(refuse(home, reason));
                continue;
            }
            let selectors = self.knowledge.by_process.entry(home.to_owned()).or_default();
            if !selectors.contains(&process.selector) {
                selectors.push(process.selector);
            }
        }
        // A selector's first process in a cgroup that it cannot observe stands for all of them.
        survey
            .refused
            .dedup_by(|later, first| (later.selector, &later.path) == (first.selector, &first.path));
    }
}
