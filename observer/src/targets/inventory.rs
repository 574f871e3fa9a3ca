//! The join of all sources: it keeps the kernel half attached to exactly the cgroups that the selectors match.
//! Notifications make it quick and a regular look at everything makes it right; nothing else changes targets.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::mpsc, time};

use super::{
    Attacher, Cgroup, CgroupEvent, RefusedProgram, Settings, StateCounts, Target, TargetList, Waiting,
    feeds::Feeds,
    matching::SelectorIndex,
    population::{self, Populated, Watches},
    source::{Change, Question, Source},
    table::Table,
    world::{Consequence, World},
};

/// How often to look at everything while the kernel does not tell of new cgroups.
const RESCAN_WITHOUT_EVENTS: Duration = Duration::from_secs(1);
/// How soon after a change that calls for a look at everything; changes come in bursts.
const SETTLE: Duration = Duration::from_millis(100);
/// How long the first look waits for the sources, without which containers have no names.
const FIRST_ANSWER: Duration = Duration::from_secs(1);
/// How many messages are handled before the snapshot is made anew.
const BATCH: usize = 256;

/// The snapshot that collectors read. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Snapshot {
    targets: Arc<[Target]>,
    counts: StateCounts,
    refused: Arc<[RefusedProgram]>,
    waiting: Arc<[Waiting]>,
}

#[derive(Debug, Default)]
struct Shared {
    snapshot: RwLock<Snapshot>,
    ready: AtomicBool,
}

impl Handle {
    /// Whether everything was looked at once: what was there at the start is attached to.
    pub fn ready(&self) -> bool {
        self.shared.ready.load(Ordering::Acquire)
    }

    fn publish(&self, snapshot: Snapshot) {
        *self.shared.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    fn snapshot(&self) -> RwLockReadGuard<'_, Snapshot> {
        self.shared.snapshot.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TargetList for Handle {
    fn targets(&self) -> Arc<[Target]> {
        Arc::clone(&self.snapshot().targets)
    }

    fn state_counts(&self) -> StateCounts {
        self.snapshot().counts
    }

    fn refused_programs(&self) -> Arc<[RefusedProgram]> {
        Arc::clone(&self.snapshot().refused)
    }

    fn waiting(&self) -> Arc<[Waiting]> {
        Arc::clone(&self.snapshot().waiting)
    }
}

/// Finds targets and keeps them attached. Dropping it detaches all.
pub struct Inventory<A: Attacher> {
    settings: Settings,
    world: World,
    table: Table<A>,
    /// Selectors that matched something at the last look or since.
    matched: HashSet<SelectorIndex>,
    /// Since when others have waited.
    waiting: HashMap<SelectorIndex, SystemTime>,
    handle: Handle,
    /// Until they run.
    sources: Vec<Box<dyn Source>>,
    /// Which of them the first look waits for.
    awaited: Vec<bool>,
    feeds: Feeds,
    watches: Option<Watches>,
    last_look: Option<Instant>,
    next_look: Instant,
}

impl<A: Attacher> Inventory<A> {
    /// Finds the hierarchy and checks the selectors; attaches nothing yet. An error tells the operator what is
    /// missing: cgroup v2, or a profile of the name that a selector gives.
    pub fn new(settings: Settings, attacher: A) -> anyhow::Result<(Self, Handle)> {
        let (world, sources) = World::new(&settings)?;
        Ok(Self::of(settings, attacher, world, sources))
    }

    /// Of these sources.
    pub(super) fn of(
        settings: Settings,
        attacher: A,
        world: World,
        sources: Vec<Box<dyn Source>>,
    ) -> (Self, Handle) {
        let table = Table::new(attacher, world.hierarchy().clone(), settings.linger);
        let handle = Handle::default();
        let by_name = world.needs_containers();
        let inventory = Self {
            settings,
            world,
            table,
            matched: HashSet::new(),
            waiting: HashMap::new(),
            handle: handle.clone(),
            awaited: sources.iter().map(|source| by_name || !source.tells_containers()).collect(),
            sources,
            feeds: Feeds::start(Vec::new()),
            watches: None,
            last_look: None,
            next_look: Instant::now(),
        };
        (inventory, handle)
    }

    /// Works until `shutdown` completes, then detaches from everything. A closed `events` channel means that the kernel
    /// does not tell of cgroups: then everything is looked at once a second. Needs tokio's multi-thread runtime, because
    /// attaching blocks.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<CgroupEvent>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let mut shutdown = pin!(shutdown);
        let mut populations = self.watch();
        self.feeds = Feeds::start(std::mem::take(&mut self.sources));
        self.next_look = Instant::now();
        if !self.feeds.answered(&self.awaited) {
            self.next_look += FIRST_ANSWER;
        }
        let mut events_open = true;
        loop {
            let next_look = time::Instant::from_std(self.next_look);
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                event = events.recv(), if events_open => if let Some(event) = event {
                    self.drain(event, &mut events, Self::on_cgroup);
                } else {
                    events_open = false;
                    self.settings.rescan = self.settings.rescan.min(RESCAN_WITHOUT_EVENTS);
                    if self.last_look.is_some() {
                        self.look_within(self.settings.rescan);
                    }
                },
                Some(populated) = populations.recv() => {
                    self.drain(populated, &mut populations, |this, it, _| this.table.populated(it.cgroup, it.populated));
                }
                () = self.feeds.wait() => tokio::task::block_in_place(|| self.hear(Instant::now())),
                () = time::sleep_until(next_look) => {
                    tokio::task::block_in_place(|| self.look(Instant::now()));
                }
            }
        }
    }

    /// Has changes of the attached cgroups told from now on. Where the kernel refuses that, looks alone see them.
    fn watch(&mut self) -> mpsc::Receiver<Populated> {
        let warn = |error: anyhow::Error| {
            tracing::warn!(error = format!("{error:#}"), "restarts in place are seen only by looks");
        };
        let (sender, populations) = mpsc::channel(BATCH);
        let started = population::watch().and_then(|(watches, watcher)| {
            self.watches = Some(watches);
            let run = move || watcher.run(&sender).unwrap_or_else(warn);
            Ok(thread::Builder::new().name("cgroups".to_owned()).spawn(run)?)
        });
        started.map_or_else(warn, drop);
        populations
    }

    /// Handles a message and those that wait behind it, then shows the outcome.
    fn drain<T>(&mut self, first: T, queue: &mut mpsc::Receiver<T>, handle: fn(&mut Self, T, Instant)) {
        tokio::task::block_in_place(|| {
            handle(self, first, Instant::now());
            for _ in 1..BATCH {
                let Ok(next) = queue.try_recv() else { break };
                handle(self, next, Instant::now());
            }
            self.publish();
        });
    }

    /// Takes in what the sources say.
    fn hear(&mut self, now: Instant) {
        let mut heard = Vec::new();
        self.feeds.turn(|source, change| heard.push((source, change)));
        for (source, change) in heard {
            self.learn(source, change, now);
        }
        if self.last_look.is_none() && self.feeds.answered(&self.awaited) {
            self.next_look = now;
        }
        self.publish();
    }

    fn learn(&mut self, source: usize, change: Change, now: Instant) {
        match self.world.learn(source, change) {
            // Before the first look, what is open already would be taken in without its name.
            _ if self.last_look.is_none() => {}
            Consequence::None => {}
            Consequence::Consider(cgroup) => self.consider(cgroup, now),
            Consequence::LookSoon => self.look_within(SETTLE),
            // Not more often than that, whatever a source does.
            Consequence::LookNow => {
                let earliest = self.last_look.map_or(now, |last| last + SETTLE).max(now);
                self.next_look = self.next_look.min(earliest);
            }
        }
    }

    fn on_cgroup(&mut self, event: CgroupEvent, now: Instant) {
        match event {
            CgroupEvent::Created { path, id } => {
                let Some(cgroup) = self.world.hierarchy().locate(&path, id) else {
                    return;
                };
                if self.world.created(&cgroup) {
                    self.feeds.ask_all(&Question::WhatIs(cgroup.clone()));
                }
                self.consider(cgroup, now);
            }
            CgroupEvent::Removed { path, id } => {
                self.world.removed(&path, id);
                if self.table.leave_if(&path, id, now) {
                    self.feeds.ask_all(&Question::LookAgain);
                    self.look_within(SETTLE);
                }
            }
            CgroupEvent::Missed => {
                self.feeds.ask_all(&Question::LookAgain);
                self.look_within(SETTLE);
            }
        }
    }

    /// Attaches to a cgroup if a selector matches it, and leaves it if none does any more.
    fn consider(&mut self, cgroup: Cgroup, now: Instant) {
        let selectors = self.world.matching(&cgroup);
        self.matched.extend(&selectors);
        match selectors.first() {
            Some(first) => {
                let found = self.world.describe(*first, &cgroup);
                self.table.observe(cgroup, found, now);
            }
            None => self.table.leave(&cgroup.path, now),
        }
    }

    /// Looks at everything, and mends whatever the notifications missed.
    fn look(&mut self, now: Instant) {
        let survey = self.world.survey(now);
        for (source, question) in survey.questions {
            self.feeds.ask(source, question);
        }
        self.matched.clear();
        self.matched.extend(survey.matched.iter().map(|(_, found)| found.selector));
        self.matched.extend(survey.passed_over.iter().map(|(selector, _)| selector));
        for refusal in survey.refused {
            self.matched.insert(refusal.selector);
            self.table.refuse(refusal.selector, &refusal.path, refusal.reason);
        }
        self.table.reconcile(survey.matched, now);
        self.last_look = Some(now);
        self.next_look = now + self.settings.rescan;
        self.publish();
        self.handle.shared.ready.store(true, Ordering::Release);
    }

    fn look_within(&mut self, wait: Duration) {
        self.next_look = self.next_look.min(Instant::now() + wait);
    }

    fn publish(&mut self) {
        if let Some(watches) = &mut self.watches {
            watches.set(self.world.hierarchy(), self.table.attached());
        }
        let counts = StateCounts {
            observed: self.table.len() as u64,
            waiting: self.follow_waiting() as u64,
            failed: self.table.failures().len() as u64,
        };
        let waiting = (0..self.world.rules().selectors().len().max(1)).filter_map(|index| {
            let since = *self.waiting.get(&index)?;
            Some(Waiting { selector: self.world.rules().name(index).to_owned(), since })
        });
        let waiting = waiting.collect();
        let refused = self.table.refused_programs().into_iter().collect();
        self.handle.publish(Snapshot { targets: self.table.targets(), counts, refused, waiting });
    }

    /// Takes note of selectors that match nothing, and says of each once that it waits; how many of the operator's do.
    fn follow_waiting(&mut self) -> usize {
        if self.last_look.is_none() {
            return self.world.rules().selectors().len();
        }
        let selectors = self.world.rules().selectors().len();
        for index in 0..selectors.max(1) {
            if self.matched.contains(&index) {
                self.waiting.remove(&index);
            } else if let std::collections::hash_map::Entry::Vacant(entry) = self.waiting.entry(index) {
                entry.insert(SystemTime::now());
                tracing::info!(
                    selector = self.world.rules().name(index),
                    "nothing matches now; waiting for it"
                );
            }
        }
        self.waiting.keys().filter(|index| **index < selectors).count()
    }
}

#[cfg(test)]
mod tests;
