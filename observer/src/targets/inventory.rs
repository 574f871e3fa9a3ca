//! The join of all sources: it keeps the kernel half attached to exactly the cgroups that the selectors match.
//! Notifications make it quick and a regular look at everything makes it right; nothing else changes targets.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinSet, time};

use super::{
    Attacher, Cgroup, CgroupEvent, RefusedProgram, Settings, StateCounts, Target, TargetList, docker,
    docker::{Request, Update},
    matching::SelectorIndex,
    table::Table,
    world::World,
};

/// How often to look at everything while the kernel does not tell of new cgroups.
const RESCAN_WITHOUT_EVENTS: Duration = Duration::from_secs(1);
/// How soon after a change that calls for a look at everything; changes come in bursts.
const SETTLE: Duration = Duration::from_millis(100);
/// How long the first look waits for Docker, without which containers have no names.
const FIRST_ANSWER: Duration = Duration::from_secs(1);
/// How many messages are handled before the snapshot is made anew.
const BATCH: usize = 256;
/// Bound of the queue of questions to Docker; what does not fit is asked after the next look.
const QUESTIONS: usize = 4096;

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
}

/// Finds targets and keeps them attached. Dropping it detaches all.
pub struct Inventory<A: Attacher> {
    settings: Settings,
    world: World,
    table: Table<A>,
    /// Selectors that matched something at the last look or since.
    matched: HashSet<SelectorIndex>,
    handle: Handle,
    questions: mpsc::Sender<Request>,
    /// Until Docker is followed, the other end of `questions`.
    to_docker: Option<mpsc::Receiver<Request>>,
    next_look: Instant,
}

impl<A: Attacher> Inventory<A> {
    /// Finds the hierarchy and checks the selectors; attaches nothing yet. An error tells the operator what is
    /// missing: cgroup v2, or a profile of the name that a selector gives.
    pub fn new(settings: Settings, attacher: A) -> anyhow::Result<(Self, Handle)> {
        let world = World::new(&settings)?;
        let table = Table::new(attacher, world.hierarchy().clone(), settings.linger);
        let handle = Handle::default();
        let (questions, to_docker) = mpsc::channel(QUESTIONS);
        let inventory = Self {
            settings,
            world,
            table,
            matched: HashSet::new(),
            handle: handle.clone(),
            questions,
            to_docker: Some(to_docker),
            next_look: Instant::now(),
        };
        Ok((inventory, handle))
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
        // Ends with this function, also where this function's own future is dropped.
        let mut following = JoinSet::new();
        let (to_inventory, mut updates) = mpsc::channel(BATCH);
        if let (Some(socket), Some(requests)) = (self.settings.docker_socket.clone(), self.to_docker.take()) {
            following.spawn(docker::follow(socket, to_inventory, requests));
            if self.world.needs_containers() {
                self.next_look = Instant::now() + FIRST_ANSWER;
            }
        }
        let mut events_open = true;
        let mut updates_open = true;
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
                    self.look_within(self.settings.rescan);
                },
                update = updates.recv(), if updates_open => match update {
                    Some(update) => self.drain(update, &mut updates, Self::on_docker),
                    None => updates_open = false,
                },
                () = time::sleep_until(next_look) => {
                    tokio::task::block_in_place(|| self.look(Instant::now()));
                }
            }
        }
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

    fn on_cgroup(&mut self, event: CgroupEvent, now: Instant) {
        match event {
            CgroupEvent::Created { path, id } => {
                let Some(cgroup) = self.world.hierarchy().locate(&path, id) else {
                    return;
                };
                if let Some(question) = self.world.created(&cgroup) {
                    self.ask(question);
                }
                self.consider(cgroup, now);
            }
            CgroupEvent::Removed { path, id } => {
                self.world.removed(&path, id);
                if self.table.leave_if(&path, id, now) {
                    self.look_within(SETTLE);
                }
            }
            CgroupEvent::Missed => self.look_within(SETTLE),
        }
    }

    fn on_docker(&mut self, update: Update, now: Instant) {
        let everything = matches!(update, Update::All(_)) || !self.handle.ready();
        let running = matches!(&update, Update::Changed(container) if container.running);
        match self.world.learn(update) {
            Some(cgroup) => self.consider(cgroup, now),
            None if everything => self.next_look = now,
            // It runs, and its cgroup has not been seen.
            None if running => self.look_within(SETTLE),
            None => {}
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
        for question in survey.questions {
            self.ask(question);
        }
        self.matched.clear();
        self.matched.extend(survey.matched.iter().map(|(_, found)| found.selector));
        self.matched.extend(survey.passed_over.iter().map(|(selector, _)| selector));
        for refusal in survey.refused {
            self.matched.insert(refusal.selector);
            self.table.refuse(refusal.selector, &refusal.path, refusal.reason);
        }
        self.table.reconcile(survey.matched, now);
        self.next_look = now + self.settings.rescan;
        self.publish();
        self.handle.shared.ready.store(true, Ordering::Release);
    }

    fn look_within(&mut self, wait: Duration) {
        self.next_look = self.next_look.min(Instant::now() + wait);
    }

    fn ask(&self, question: Request) {
        if self.settings.docker_socket.is_some() && self.questions.try_send(question).is_err() {
            tracing::debug!("the queue of questions to Docker is full; its next list answers them");
        }
    }

    fn publish(&self) {
        let selectors = self.world.rules().selectors().len();
        let waiting = (0..selectors).filter(|index| !self.matched.contains(index)).count();
        let counts = StateCounts {
            observed: self.table.len() as u64,
            waiting: waiting as u64,
            failed: self.table.failures().len() as u64,
        };
        let refused = self.table.refused_programs().into_iter().collect();
        self.handle.publish(Snapshot { targets: self.table.targets(), counts, refused });
    }
}

#[cfg(test)]
mod tests;
