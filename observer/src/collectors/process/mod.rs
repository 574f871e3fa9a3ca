//! The processes of each target, summed by role; what a process counted stays in its role's totals when it exits.
//! A process that came and went between two scrapes is not seen; one that exits counts up to the last scrape.

mod arguments;
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
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Once, PoisonError},
};

use anyhow::Context as _;

pub(crate) use self::metrics::METRICS;
use self::{
    arguments::Arguments,
    files::{ProcessDirectory, boot_time},
    state::{Look, State},
    totals::{Proportional, Sums},
};
use super::{Collector, Families, Metric, overflow::LabelOverflow, parallel};
use crate::{
    cgroup::mounts::CgroupMounts,
    profiles::Profiles,
    reading::Readers,
    targets::{Target, TargetId, TargetList},
};

/// How many roles a target has before further ones are called `other`.
pub const MAX_ROLES: usize = 16;

/// How processes are counted.
#[derive(Clone)]
pub struct Settings {
    /// How many roles a target has before further ones are called `other`.
    pub max_roles: usize,
    /// Whether each process's share of memory is read, which costs the kernel a walk of its page tables.
    pub proportional_memory: bool,
    /// What the processes of each app are called.
    pub profiles: Profiles,
    /// Read the arguments of processes.
    pub readers: Readers,
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

    /// Brings a target's state up to date and sums what lives. With an error, what was known stays.
    fn update(&self, state: &mut State, target: &Target) -> io::Result<()> {
        let mut pids = Vec::new();
        for cgroup in &target.cgroups {
            if self.mounts.directory(cgroup).is_some() {
                let members = self.mounts.unified.members(&cgroup.path)?;
                pids.extend(members.into_iter().filter_map(|pid| i32::try_from(pid).ok()));
            }
        }
        pids.sort_unstable();
        pids.dedup();
        let arguments = Arguments::new(&self.settings.readers, target.id);
        let look = Look {
            proc_root: &self.proc_root,
            overflow: &self.overflow,
            max_roles: self.settings.max_roles,
            names: self.settings.profiles.process_names(&target.labels.app),
            pids: &pids,
            restarts: target.restarts,
            arguments: &arguments,
        };
        state.update(&look, |process| self.proportional(process));
        Ok(())
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

/// A process as its program names it, while it lives.
pub(super) struct Named {
    directory: ProcessDirectory,
    executable: PathBuf,
    /// The short name of its program.
    pub(super) comm: String,
}

impl Named {
    /// `None` where it has gone.
    pub(super) fn of(proc_root: &Path, pid: u32) -> Option<Self> {
        let directory = ProcessDirectory::open(proc_root, &pid.to_string())?;
        let comm = directory.comm()?;
        Some(Self { executable: directory.executable(), directory, comm })
    }

    /// Whether it may be a zombie, whose counts are final: that has neither a program nor arguments.
    pub(super) fn has_no_program(&self) -> bool {
        self.executable.as_os_str().is_empty()
    }

    /// Its role by itself, without a target's limit of roles.
    pub(super) fn role(&self, command_line: &[u8]) -> String {
        role::role_of(&self.directory, &self.comm, command_line)
    }
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
        let mut jobs: Vec<(&Target, State, io::Result<()>)> = targets
            .iter()
            .map(|target| (target, left.remove(&target.id).unwrap_or_default(), Ok(())))
            .collect();
        parallel::for_each(&mut jobs, |(target, state, looked)| *looked = self.update(state, target));
        let none = Sums::none(self.settings.proportional_memory);
        let mut all = Ok(());
        for (target, state, looked) in jobs {
            for (role, totals) in &state.roles {
                let labels = [&target.labels.container, &target.labels.app, role.as_ref()];
                metrics::write(families, labels, totals, state.sums.get(role).unwrap_or(&none), boot);
            }
            states.insert(target.id, state);
            all = all.and(looked);
        }
        all.context("the processes of a target cannot be looked at, and are shown as they last were")
    }
}

#[cfg(test)]
mod tests;
