//! What is kept of one target for as long as its series are shown: its number, and what it is called at this moment.
//! It is told apart by its source's id of the workload; labels and metadata may change while it lives.

use std::time::{Duration, Instant};

use super::{Cgroup, Identity, Info, Labels, Target, TargetId, matching::Match};

/// How a target is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Attached; no process was seen in it so far.
    New,
    /// Attached, with a process.
    Live,
    /// Attached; its processes have ended.
    Empty,
    /// Without a cgroup since then.
    Gone(Instant),
}

/// A target.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: TargetId,
    pub(super) identity: Identity,
    pub(super) labels: Labels,
    pub(super) info: Info,
    pub(super) cgroups: Vec<Cgroup>,
    pub(super) life: Life,
    restarts: u64,
    /// Whether its new start was counted and no look at everything has found it since. It may be left and found again
    /// meanwhile (a `port:` before the server listens), which is the same start.
    starting: bool,
}

impl Entry {
    pub(super) fn new(id: TargetId, found: &Match) -> Self {
        Self {
            id,
            identity: found.identity.clone(),
            labels: found.labels.clone(),
            info: found.info.clone(),
            cgroups: Vec::new(),
            life: Life::New,
            restarts: 0,
            starting: false,
        }
    }

    /// As collectors see it.
    pub(super) fn target(&self) -> Target {
        Target {
            id: self.id,
            labels: self.labels.clone(),
            info: self.info.clone(),
            cgroups: self.cgroups.clone(),
            restarts: self.restarts,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.life, Life::Gone(_))
    }

    /// A cgroup of it is attached to, in which there is a process or not yet.
    pub(super) fn attached(&mut self, cgroup: Cgroup, populated: bool) {
        if self.is_gone() {
            self.restarts += u64::from(!self.starting);
            self.life = Life::New;
        }
        if populated && self.life == Life::New {
            self.life = Life::Live;
        }
        self.cgroups.push(cgroup);
    }

    /// A cgroup of it is no longer attached to. Whether that was its last one.
    pub(super) fn detached(&mut self, cgroup: &Cgroup, now: Instant) -> bool {
        self.cgroups.retain(|other| other != cgroup);
        let last = self.cgroups.is_empty();
        if last {
            self.life = Life::Gone(now);
        }
        last
    }

    /// Whether some cgroup of it has a process. One that was made once and is used again and again shows a restart only
    /// by running empty between.
    pub(super) fn populated(&mut self, populated: bool) {
        match (self.life, populated) {
            (Life::New, true) => self.life = Life::Live,
            (Life::Live, false) => {
                self.life = Life::Empty;
                self.starting = false;
            }
            (Life::Empty, true) => {
                self.restarts += 1;
                self.life = Life::Live;
                self.starting = true;
            }
            _ => {}
        }
    }

    /// A look at everything has found it.
    pub(super) fn found(&mut self) {
        self.starting = false;
    }

    /// Whether it has been gone for `linger`.
    pub(super) fn has_lingered(&self, linger: Duration, now: Instant) -> bool {
        matches!(self.life, Life::Gone(since) if now.duration_since(since) >= linger)
    }
}
