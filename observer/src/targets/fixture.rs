//! For the unit tests: lists of targets that do not change, and an attacher that attaches to nothing.
//! The host that they are found on is a folder, made by [`Host`].

use std::sync::{Arc, Mutex};

use super::{Attacher, Cgroup, StateCounts, Target, TargetId, TargetList};
pub(crate) use crate::cgroup::fixture::Host;

/// A list of targets that does not change, for the collectors' tests.
pub(crate) struct Fixed(pub(crate) Arc<[Target]>);

impl TargetList for Fixed {
    fn targets(&self) -> Arc<[Target]> {
        Arc::clone(&self.0)
    }

    fn state_counts(&self) -> StateCounts {
        StateCounts::default()
    }
}

/// One cgroup attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    pub(super) target: TargetId,
    pub(super) cgroup: u64,
}

/// An attacher that attaches to nothing and remembers everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder {
    state: Arc<Mutex<Recorded>>,
}

#[derive(Debug, Default)]
struct Recorded {
    calls: usize,
    ever: Vec<TargetId>,
    now: Vec<Attached>,
    forgotten: Vec<TargetId>,
    failure: Option<&'static str>,
}

/// Takes its cgroup off the list when dropped.
#[derive(Debug)]
pub(super) struct Recording {
    state: Arc<Mutex<Recorded>>,
    attached: Attached,
}

impl Recorder {
    /// Makes every further attempt fail, or none.
    pub(super) fn fail(&self, reason: Option<&'static str>) {
        self.state.lock().unwrap().failure = reason;
    }

    /// How often it was asked to attach.
    pub(super) fn calls(&self) -> usize {
        self.state.lock().unwrap().calls
    }

    /// The targets of all attachments that were made, in their order.
    pub(super) fn attached_ever(&self) -> Vec<TargetId> {
        self.state.lock().unwrap().ever.clone()
    }

    pub(super) fn attached_now(&self) -> Vec<Attached> {
        self.state.lock().unwrap().now.clone()
    }

    pub(super) fn forgotten(&self) -> Vec<TargetId> {
        self.state.lock().unwrap().forgotten.clone()
    }
}

impl Attacher for Recorder {
    type Attachment = Recording;

    fn attach(&self, target: TargetId, cgroup: &Cgroup) -> anyhow::Result<Recording> {
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        if let Some(failure) = state.failure {
            anyhow::bail!(failure);
        }
        let attached = Attached { target, cgroup: cgroup.id };
        state.ever.push(target);
        state.now.push(attached);
        Ok(Recording { state: Arc::clone(&self.state), attached })
    }

    fn forget(&self, target: TargetId) {
        self.state.lock().unwrap().forgotten.push(target);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap();
        state.now.retain(|attached| *attached != self.attached);
    }
}
