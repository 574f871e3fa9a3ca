//! What a source of targets is: it runs by itself, tells under its own name what it knows of workloads, takes questions.
//! A new one is a file in `sources/` and a line in [`super::sources::all`]; nothing else knows which there are.

use std::{path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc};

use super::{Cgroup, Info, matching::SelectorIndex};

/// Changes of one source that wait for the inventory; with more, the source waits.
const WAITING: usize = 256;
/// Questions that wait for one source. What does not fit is asked again at the next look at everything.
const QUESTIONS: usize = 1024;

/// Something that knows of workloads: a container runtime, systemd, /proc.
pub trait Source: Send + 'static {
    /// Its name, of which there is no second.
    fn name(&self) -> &'static str;

    /// Whether it knows containers, whose names other selectors' targets are shown under.
    fn tells_containers(&self) -> bool {
        true
    }

    /// Tells what it knows until nobody listens: first a [`Change::Snapshot`], or [`Change::Unreachable`], then what
    /// changes. It may hang, fail and end as it likes; others go on.
    fn run(self: Box<Self>, changes: Changes, questions: mpsc::Receiver<Question>) -> BoxFuture<'static, ()>;
}

/// A workload as its source knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// What its source calls it: never another's, and the same when it comes back.
    pub id: String,
    /// Where its processes are.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
    /// Its name for people, which may change.
    pub name: String,
    /// Whether its source says that it runs now.
    pub running: bool,
    /// What else is known of it, which may change too.
    pub info: Info,
    /// Selectors that match it and that only its source can judge, in ascending order.
    pub claims: Vec<SelectorIndex>,
}

/// What a workload is, which says which selectors may match it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A container: `container:` and `image:`, and named so whoever finds it.
    Container,
    /// A systemd unit: `unit:`.
    Unit,
    /// Processes, or a cgroup of which no more is known: what its source claims.
    #[default]
    Plain,
}

/// Where a workload's processes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the cgroup that is named by the workload's id, as container runtimes do; where there is none, in that of this
    /// process.
    NamedById {
        /// Its first process, where its source was asked for it.
        first_process: Option<u32>,
    },
    /// In the cgroup of this path.
    Cgroup(PathBuf),
    /// In the container or unit that holds this cgroup, else in the cgroup itself.
    Around(PathBuf),
    /// Where it cannot be observed.
    Unobservable {
        /// The cgroup, as far as it has a path here.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
}

impl Default for Place {
    fn default() -> Self {
        Self::NamedById { first_process: None }
    }
}

/// What a source says. Ids are its own: it cannot name a workload of another.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large variant, and few wait at once")]
pub enum Change {
    /// All workloads that it knows; those that it told of before and that are not among them are gone.
    Snapshot(Vec<Workload>),
    /// This one is new, or is not as it was.
    Upsert(Workload),
    /// The processes of the workload of this id have ended; it may start again.
    Stopped(String),
    /// The workload of this id is gone for good.
    Gone(String),
    /// The source cannot look now, for this reason. What it said before holds as far as cgroups show.
    Unreachable(String),
}

/// What a source is asked; the answer is a [`Change`], or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// This cgroup is new: is it one of your workloads?
    WhatIs(Cgroup),
    /// In which process does the workload of this id begin? No cgroup has its name.
    WhereIs(String),
    /// Cgroups of targets have come or gone: look soon, if you look only now and then.
    LookAgain,
}

/// Where a source sends what it has to say.
#[derive(Clone, Debug)]
pub struct Changes {
    sender: mpsc::Sender<Change>,
    wake: Arc<Notify>,
}

/// The inventory's end of a source.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) name: &'static str,
    pub(super) changes: mpsc::Receiver<Change>,
    questions: mpsc::Sender<Question>,
}

/// Nobody listens any more: the source may end.
#[derive(Debug)]
pub struct Closed;

impl Changes {
    /// Sends a change, and waits while the inventory is behind with this source.
    pub async fn send(&self, change: Change) -> Result<(), Closed> {
        let sent = self.sender.send(change).await;
        self.wake.notify_one();
        sent.map_err(|_| Closed)
    }

    /// Completes when nobody listens any more.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

impl Feed {
    /// The two ends of a source's channels; `wake` is told of each change.
    pub(super) fn new(name: &'static str, wake: &Arc<Notify>) -> (Self, Changes, mpsc::Receiver<Question>) {
        let (sender, changes) = mpsc::channel(WAITING);
        let (questions, asked) = mpsc::channel(QUESTIONS);
        (Self { name, changes, questions }, Changes { sender, wake: Arc::clone(wake) }, asked)
    }

    /// Asks the source, which may be behind.
    pub(super) fn ask(&self, question: Question) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.questions.try_send(question) {
            tracing::debug!(source = self.name, "the queue of questions is full; the next look asks again");
        }
    }
}
