//! What all sources together know now: cgroups, workloads, and which of them the selectors match.
//! Looks and never changes anything; the inventory and `observer targets` both ask it.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    Cgroup, Settings,
    apps::Apps,
    knowledge::{Key, Knowledge},
    matching::{Match, Rules, SelectorIndex},
    selector::Matcher,
    source::{Change, Place, Question, Source},
    sources,
};
use crate::{cgroup::Hierarchy, profiles::Profiles};

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
    /// What should be asked, and of which source.
    pub(super) questions: Vec<(usize, Question)>,
}

/// What a change of a source calls for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// Nothing that is known is otherwise.
    None,
    /// This cgroup may be matched otherwise than before.
    Consider(Cgroup),
    /// A look at everything, soon.
    LookSoon,
    /// A look at everything, now.
    LookNow,
}

/// The sources, joined.
pub(super) struct World {
    rules: Rules,
    hierarchy: Hierarchy,
    proc_root: PathBuf,
    apps: Apps,
    knowledge: Knowledge,
    /// As they were last seen.
    cgroups: Vec<Cgroup>,
    /// Containers whose first process was asked for, so that it is asked once.
    asked: HashSet<Key>,
}

impl World {
    /// The world of the sources that the settings call for, and those sources.
    pub(super) fn new(settings: &Settings) -> anyhow::Result<(Self, Vec<Box<dyn Source>>)> {
        let hierarchy = Hierarchy::find(&settings.proc_root)?;
        let sources = sources::all(settings, &hierarchy);
        Ok((Self::of(settings, hierarchy, &sources)?, sources))
    }

    /// The world of these sources.
    pub(super) fn of(
        settings: &Settings,
        hierarchy: Hierarchy,
        sources: &[Box<dyn Source>],
    ) -> anyhow::Result<Self> {
        let profiles = Profiles::load(&settings.profile_files)?;
        Ok(Self {
            apps: Apps::new(&settings.proc_root, &profiles),
            rules: Rules::new(settings.selectors.clone(), profiles)?,
            hierarchy,
            proc_root: settings.proc_root.clone(),
            knowledge: Knowledge::new(sources.iter().map(|source| source.name())),
            cgroups: Vec::new(),
            asked: HashSet::new(),
        })
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// Whether labels depend on what sources know of containers, so that a first look should wait for them.
    pub(super) fn needs_containers(&self) -> bool {
        let selectors = self.rules.selectors();
        let by_path = |matcher: &Matcher| matches!(matcher, Matcher::Cgroup(_) | Matcher::Unit(_));
        selectors.is_empty() || selectors.iter().any(|selector| !by_path(&selector.matcher))
    }

    /// How many workloads a source knows.
    pub(super) fn workloads(&self, source: usize) -> usize {
        self.knowledge.all().filter(|(of, ..)| *of == source).count()
    }

    /// Takes over what a source says.
    pub(super) fn learn(&mut self, source: usize, change: Change) -> Consequence {
        match change {
            Change::Snapshot(workloads) => {
                self.asked.retain(|(of, _)| *of != source);
                if self.knowledge.replace(source, workloads) {
                    Consequence::LookNow
                } else {
                    Consequence::None
                }
            }
            Change::Upsert(workload) => {
                let (id, running) = (workload.id.clone(), workload.running);
                if !running {
                    self.asked.remove(&(source, id.clone()));
                }
                if !self.knowledge.insert(source, workload) {
                    return Consequence::None;
                }
                match self.knowledge.place(source, &id, &self.proc_root).map(|path| self.hierarchy.get(&path))
                {
                    Some(Some(cgroup)) => Consequence::Consider(cgroup),
                    // It runs, and its cgroup has not been seen.
                    _ if running => Consequence::LookSoon,
                    _ => Consequence::None,
                }
            }
            Change::Stopped(id) => {
                self.knowledge.change(source, &id, |workload| {
                    workload.running = false;
                    if let Place::NamedById { first_process } = &mut workload.place {
                        *first_process = None;
                    }
                });
                self.asked.remove(&(source, id));
                Consequence::None
            }
            Change::Gone(id) => {
                self.asked.remove(&(source, id.clone()));
                let cgroup = self.knowledge.remove(source, &id).and_then(|path| self.hierarchy.get(&path));
                cgroup.map_or(Consequence::None, Consequence::Consider)
            }
            Change::Unreachable(_) => Consequence::None,
        }
    }

    /// Takes note of a new cgroup. Whether the sources should be asked what it is: somebody may know, and nobody has
    /// told.
    pub(super) fn created(&mut self, cgroup: &Cgroup) -> bool {
        self.knowledge.created(cgroup);
        self.knowledge.at(&cgroup.path).next().is_none()
    }

    /// Takes note of a cgroup's end.
    pub(super) fn removed(&mut self, path: &Path, id: u64) {
        self.knowledge.removed(path, id);
    }

    /// All selectors that match this cgroup, in the operator's order.
    pub(super) fn matching(&self, cgroup: &Cgroup) -> Vec<SelectorIndex> {
        self.rules.matching(&cgroup.path, &self.knowledge)
    }

    pub(super) fn describe(&self, selector: SelectorIndex, cgroup: &Cgroup) -> Match {
        self.rules.describe(selector, &cgroup.path, &self.knowledge)
    }

    /// Looks at everything that is known, and at which cgroups there are.
    pub(super) fn survey(&mut self, now: Instant) -> Survey {
        let mut survey = Survey::default();
        match self.hierarchy.walk() {
            Ok(cgroups) => self.cgroups = cgroups,
            // That they cannot be seen does not make them gone.
            Err(error) => {
                tracing::warn!(%error, "the cgroups cannot be listed; going on with those of the last look");
            }
        }
        self.knowledge.place_all(&self.cgroups, &self.proc_root);
        self.ask_for_unplaced(&mut survey);
        for (_, workload, _) in self.knowledge.all() {
            if let Place::Unobservable { path, reason } = &workload.place {
                let refuse = |selector: &SelectorIndex| Refusal {
                    selector: *selector,
                    path: path.clone(),
                    reason: reason.clone(),
                };
                survey.refused.extend(workload.claims.iter().map(refuse));
            }
        }
        // Asked again below, of those that nothing else tells of.
        self.knowledge.apps.clear();
        for cgroup in &self.cgroups {
            let mut selectors = self.matching(cgroup).into_iter();
            let Some(first) = selectors.next() else { continue };
            let found = self.describe(first, cgroup);
            survey.passed_over.extend(selectors.map(|selector| (selector, cgroup.clone())));
            survey.matched.push((cgroup.clone(), found));
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

    /// Running workloads whose cgroup is not named by their id (podman with `--cgroups=split`, for one) are found by
    /// their first process.
    fn ask_for_unplaced(&mut self, survey: &mut Survey) {
        for (source, workload, place) in self.knowledge.all() {
            let unplaced = workload.running
                && place.is_none()
                && matches!(workload.place, Place::NamedById { first_process: None })
                && self.knowledge.named(&workload.id).is_none();
            if unplaced && self.asked.insert((source, workload.id.clone())) {
                survey.questions.push((source, Question::WhereIs(workload.id.clone())));
            }
        }
    }
}
