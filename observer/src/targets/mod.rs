//! What is observed: a target is one workload (a container, a unit, a process) with its cgroups and labels.
//! One file per source of targets; the inventory joins them and tells the kernel what to attach to.

mod activation;
mod apps;
mod entry;
mod explain;
mod feeds;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod inventory;
mod knowledge;
mod matching;
pub mod over_budget;
mod population;
pub mod selector;
pub mod source;
mod sources;
mod table;
mod world;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

pub use activation::socket_activated;
pub use explain::explain;
pub use inventory::{Handle, Inventory};
use selector::Selector;
pub(crate) use sources::executable;

pub use crate::cgroup::Cgroup;

/// What a target is told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Name of the source that knows the workload.
    pub source: &'static str,
    /// What the source calls it; never another workload's, and the same when it comes back.
    pub id: String,
}

/// The labels that every series of a target carries. They may change while it lives; where those of two targets are the
/// same, their series are added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels {
    /// Container, pod-container or unit name.
    pub container: String,
    /// Name of the profile, or empty.
    pub app: String,
}

/// What else is known of a target; only `target_info` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Image reference as the runtime names it: `lobehub/lobe-chat:1.143.3`.
    pub image: String,
    /// `sha256:…` of the image.
    pub image_digest: String,
    /// First 12 hex digits of the container's id.
    pub container_id: String,
    /// `docker`, `containerd`, `podman`, `systemd`, or empty for a plain cgroup.
    pub runtime: String,
    /// The pod's uid, where there is one.
    pub pod_uid: String,
    /// What made the pod: a Deployment's name, where there is one.
    pub workload: String,
    /// `Deployment` or its like.
    pub workload_kind: String,
    /// Node name, where there is one.
    pub node: String,
    /// systemd unit, where there is one.
    pub unit: String,
    /// Version of the app, from the image's tag or `org.opencontainers.image.version` label.
    pub version: String,
    /// The Compose project that it belongs to, where there is one.
    pub compose_project: String,
    /// Its service in that project.
    pub compose_service: String,
    /// Its number among the containers of that service.
    pub replica: String,
}

/// Number of a target inside one run of the agent; the kernel half keys its counts by it. Never reused, never 0.
pub type TargetId = u32;

/// A target as collectors see it: a snapshot that does not change under them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its number, kept when its labels change and when it comes back: a container that is made anew under its name too.
    pub id: TargetId,
    /// Its labels.
    pub labels: Labels,
    /// Its metadata, as of its newest instance.
    pub info: Info,
    /// The cgroups attached to now: none once it has gone.
    pub cgroups: Vec<Cgroup>,
    /// How often it came back after it had been gone or had run empty.
    pub restarts: u64,
}

/// How many targets are in which state (`observer_targets`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// Attached, or gone but still lingering.
    pub observed: u64,
    /// Selectors that match nothing yet.
    pub waiting: u64,
    /// Found, but not to be attached to.
    pub failed: u64,
}

/// A selector that matches nothing now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// As the operator wrote it.
    pub selector: String,
    /// Since when.
    pub since: SystemTime,
}

/// A program of the kernel half that some target's cgroup does not admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedProgram {
    /// Its name.
    pub program: &'static str,
    /// Why, in words that do not name the cgroup.
    pub reason: &'static str,
}

/// Where collectors read targets from; the inventory implements it, and tests with a fixed list.
pub trait TargetList: Send + Sync {
    /// All targets whose series are shown: attached ones, and gone ones until they have lingered.
    fn targets(&self) -> Arc<[Target]>;
    /// Counts for `observer_targets`.
    fn state_counts(&self) -> StateCounts;
    /// Selectors that match nothing, in the operator's order.
    fn waiting(&self) -> Arc<[Waiting]> {
        Arc::default()
    }
    /// Programs that cannot be attached to some target at this moment, each once.
    fn refused_programs(&self) -> Arc<[RefusedProgram]> {
        Arc::default()
    }
}

/// What to observe, and how closely to look.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's selectors; none means every container whose image matches a profile.
    pub selectors: Vec<Selector>,
    /// The operator's own profiles: files and folders.
    pub profile_files: Vec<PathBuf>,
    /// Docker's (or podman's) API socket; `None` asks no container runtime.
    pub docker_socket: Option<PathBuf>,
    /// How long the series of a target that has gone are still shown.
    pub linger: Duration,
    /// How often everything is looked at, beside the notifications.
    pub rescan: Duration,
    /// Where the host's /proc is.
    pub proc_root: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            selectors: Vec::new(),
            profile_files: Vec::new(),
            docker_socket: Some(PathBuf::from("/var/run/docker.sock")),
            linger: Duration::from_mins(5),
            rescan: Duration::from_secs(5),
            proc_root: PathBuf::from("/proc"),
        }
    }
}

/// What the kernel half does for the inventory. Both calls block, briefly.
pub trait Attacher: Send + Sync {
    /// An attached cgroup; dropping it detaches.
    type Attachment: Send;

    /// Observes a cgroup, with all its descendants, as a part of this target. A target may have several.
    fn attach(&self, target: TargetId, cgroup: &Cgroup) -> anyhow::Result<Self::Attachment>;

    /// Which program an error of [`Attacher::attach`] is about, where metrics are to show it.
    fn refused(&self, error: &anyhow::Error) -> Option<RefusedProgram> {
        let _ = error;
        None
    }

    /// The series of this target are no longer shown and its number never comes back: its counts may go.
    fn forget(&self, target: TargetId);
}

impl<T: Attacher + ?Sized> Attacher for Arc<T> {
    type Attachment = T::Attachment;

    fn attach(&self, target: TargetId, cgroup: &Cgroup) -> anyhow::Result<Self::Attachment> {
        (**self).attach(target, cgroup)
    }

    fn refused(&self, error: &anyhow::Error) -> Option<RefusedProgram> {
        (**self).refused(error)
    }

    fn forget(&self, target: TargetId) {
        (**self).forget(target);
    }
}

/// What the kernel tells of the v2 hierarchy as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupEvent {
    /// A cgroup was made. No process is in it yet.
    Created {
        /// With a leading slash.
        path: PathBuf,
        /// Its inode number.
        id: u64,
    },
    /// A cgroup was removed.
    Removed {
        /// With a leading slash.
        path: PathBuf,
        /// Its inode number.
        id: u64,
    },
    /// Some of these were lost.
    Missed,
}
