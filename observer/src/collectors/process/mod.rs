//! The processes of each target, summed by role; what a process counted stays in its role's totals when it exits.
//! A process that came and went between two scrapes is not seen; one that exits counts up to the last scrape.

mod descriptors;
pub mod files;
#[cfg(any(test, feature = "fuzz"))]
pub(super) mod fuzz;
mod metrics;
mod parts;
mod restarts;
mod role;
mod role_words;
mod state;
mod totals;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Once, PoisonError},
};

pub(crate) use self::metrics::METRICS;
use self::{
    files::{ProcessDirectory, boot_time},
    state::{Look, State},
    totals::{Proportional, Sums},
};
use super::{Collector, Families, Metric, overflow::LabelOverflow, parallel};
use crate::{
    cgroup::{files::processes, mounts::CgroupMounts},
    profiles::Profiles,
    targets::{Target, TargetId, TargetList},
};

/// How many roles a target has before further ones are called `other`.
pub const MAX_ROLES: usize = 16;

/// How processes are counted.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many roles a target has before further ones are called `other`.
    pub max_roles: usize,
    /// Whether each process's share of memory is read, which costs the kernel a walk of its page tables.
    pub proportional_memory: bool,
    /// What the processes of each app are called.
    pub profiles: Profiles,
}

/// The process half of the section "Processes and cgroup".
pub struct ProcessCollector {
    targets: Arc<dyn TargetList>,
    proc_root: PathBuf,
    mounts: Arc<CgroupMounts>,
    overflow: LabelOverflow,
    settings: Settings,
    states: Mutex<HashMap<TargetId, State>>,
    refused: Once,
}

impl ProcessCollector {
    /// Reads processes below `proc_root` and cgroups below the v2 root of `mounts`.
    pub fn new(
        targets: Arc<dyn TargetList>,
        proc_root: PathBuf,
        mounts: Arc<CgroupMounts>,
        overflow: LabelOverflow,
        settings: Settings,
    ) -> Self {
        let [processes, ..] = &METRICS;
        overflow.declare(processes, "process");
        let (states, refused) = (Mutex::default(), Once::new());
        Self { targets, proc_root, mounts, overflow, settings, states, refused }
    }

    /// Brings a target's state up to date and sums what lives.
    fn update(&self, state: &mut State, target: &Target) -> BTreeMap<Arc<str>, Sums> {
        let directories = target.cgroups.iter().filter_map(|cgroup| self.mounts.directory(cgroup));
        let mut pids: Vec<i32> = directories.flat_map(|directory| processes(&directory)).collect();
        pids.sort_unstable();
        pids.dedup();
        let look = Look {
            proc_root: &self.proc_root,
            overflow: &self.overflow,
            max_roles: self.settings.max_roles,
            names: self.settings.profiles.process_names(&target.labels.app),
            pids: &pids,
            restarts: target.restarts,
        };
        state.update(&look, |process| self.proportional(process))
    }

    fn proportional(&self, process: &ProcessDirectory) -> Proportional {
        if !self.settings.proportional_memory {
            return Proportional::NotRead;
        }
        process.proportional_bytes().map_or_else(
            |error| {
                self.refused.call_once(|| {
                    tracing::warn!(
                        %error,
                        "processes.pss: the smaps_rollup of a process may not be read, so roles with such processes have \
                         no process_proportional_memory_bytes; run as root or with CAP_SYS_PTRACE, on a kernel with \
                         CONFIG_PROC_PAGE_MONITOR"
                    );
                });
                Proportional::Refused
            },
            Proportional::Bytes,
        )
    }
}

/// The role of a live process by itself, without a target's limit of roles; `None` where it has gone or is a zombie.
pub(super) fn role_of(proc_root: &Path, pid: u32) -> Option<String> {
    let directory = ProcessDirectory::open(proc_root, &pid.to_string())?;
    let comm = directory.comm()?;
    let command_line = directory.command_line();
    // A zombie has neither; its counts are final.
    let executable = directory.executable();
    if executable.as_os_str().is_empty() && command_line.is_empty() {
        return None;
    }
    Some(role::role_of(&directory, &comm, &command_line))
}

impl Collector for ProcessCollector {
    fn name(&self) -> &'static str {
        "process"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn collect(&self, families: &mut Families) -> anyhow::Result<()> {
        let targets = self.targets.targets();
        let boot = boot_time(&self.proc_root);
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        // What is left in here after every target has taken its state belongs to targets that are gone.
        let mut left = std::mem::take(&mut *states);
        let mut jobs: Vec<(&Target, State, BTreeMap<_, _>)> = targets
            .iter()
            .map(|target| (target, left.remove(&target.id).unwrap_or_default(), BTreeMap::new()))
            .collect();
        parallel::for_each(&mut jobs, |(target, state, sums)| {
            *sums = self.update(state, target);
        });
        let none = Sums::none(self.settings.proportional_memory);
        for (target, state, sums) in jobs {
            for (role, totals) in &state.roles {
                let labels = [&target.labels.container, &target.labels.app, role.as_ref()];
                metrics::write(families, labels, totals, sums.get(role).unwrap_or(&none), boot);
            }
            states.insert(target.id, state);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
