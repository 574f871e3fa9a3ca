//! The processes of each target, summed by role; what a process counted stays in its role's totals when it exits.
//! A process that came and went between two scrapes is not seen; one that exits counts up to the last scrape.

pub mod files;
mod role;
mod role_words;
mod totals;

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Collector, Families, Kind, Metric,
    cgroup::{files::processes, mounts::CgroupMounts},
    overflow::{LabelOverflow, OTHER},
    parallel,
};
use crate::targets::{Target, TargetId, TargetList};
use files::{ProcessDirectory, ProcessFiles, boot_time};
use role::role;
use totals::{Sums, Totals};

/// How many roles a target has before further ones are called `other`.
pub const MAX_ROLES: usize = 16;

pub(super) static METRICS: [Metric; 10] = [
    Metric::of_target("processes", Kind::Gauge, &["process"], "Live processes."),
    Metric::of_target(
        "process_cpu_seconds_total",
        Kind::Counter,
        &["process", "mode"],
        "CPU time of all threads, as of the last scrape that saw the process.",
    ),
    Metric::of_target(
        "process_resident_memory_bytes",
        Kind::Gauge,
        &["process"],
        "Resident memory; pages that processes share count for each of them.",
    ),
    Metric::of_target(
        "process_virtual_memory_bytes",
        Kind::Gauge,
        &["process"],
        "Size of the address spaces.",
    ),
    Metric::of_target("process_open_fds", Kind::Gauge, &["process"], "Open file descriptors."),
    Metric::of_target(
        "process_max_fds",
        Kind::Gauge,
        &["process"],
        "Lowest soft limit of open files among the role's processes; it holds for each process by itself.",
    ),
    Metric::of_target("process_threads", Kind::Gauge, &["process"], "Threads."),
    Metric::of_target(
        "process_start_time_seconds",
        Kind::Gauge,
        &["process"],
        "Start of the role's oldest process, in seconds since the epoch.",
    ),
    Metric::of_target(
        "process_context_switches_total",
        Kind::Counter,
        &["process", "type"],
        "Context switches of the main threads, as of the last scrape that saw the process.",
    ),
    Metric::of_target(
        "process_io_bytes_total",
        Kind::Counter,
        &["process", "direction"],
        "Bytes read from and written to storage, as of the last scrape that saw the process.",
    ),
];

/// The process half of the section "Processes and cgroup".
pub struct ProcessCollector {
    targets: Arc<dyn TargetList>,
    proc_root: PathBuf,
    mounts: Arc<CgroupMounts>,
    overflow: LabelOverflow,
    max_roles: usize,
    states: Mutex<HashMap<TargetId, State>>,
}

/// What is remembered of a target between scrapes: nothing of processes that are gone but their roles' totals.
#[derive(Default)]
struct State {
    processes: HashMap<(i32, u64), Seen>,
    roles: BTreeMap<Arc<str>, Totals>,
}

/// A live process as of the last scrape.
struct Seen {
    role: Arc<str>,
    comm: String,
    /// Of its command line: when it changes (a title set later), the role is looked up again.
    command_line: u64,
    max_fds: Option<u64>,
    counted: Totals,
    scrapes: u32,
}

/// Scrapes of a new process in which its settings are read each time: it may still be starting.
const SETTLING: u32 = 4;

/// Scrapes after which the settings of a settled process are read again.
const SETTINGS_EVERY: u32 = 8;

impl ProcessCollector {
    /// Reads processes below `proc_root` and cgroups below the v2 root of `mounts`.
    pub fn new(
        targets: Arc<dyn TargetList>,
        proc_root: PathBuf,
        mounts: Arc<CgroupMounts>,
        overflow: LabelOverflow,
        max_roles: usize,
    ) -> Self {
        let [processes, ..] = &METRICS;
        overflow.declare(processes, "process");
        Self { targets, proc_root, mounts, overflow, max_roles, states: Mutex::default() }
    }

    /// Brings a target's state up to date and sums what lives.
    fn update(&self, state: &mut State, target: &Target) -> BTreeMap<Arc<str>, Sums> {
        let directories = target.cgroups.iter().filter_map(|cgroup| self.mounts.directory(cgroup));
        let mut pids: Vec<i32> = directories.flat_map(|directory| processes(&directory)).collect();
        pids.sort_unstable();
        pids.dedup();
        let mut sums: BTreeMap<Arc<str>, Sums> = BTreeMap::new();
        let mut alive = HashMap::with_capacity(pids.len());
        for pid in pids {
            let Some(directory) = ProcessDirectory::open(&self.proc_root, &pid.to_string()) else {
                continue;
            };
            let Some(files) = directory.read() else {
                continue;
            };
            let key = (pid, files.start_ticks);
            let mut seen = self.look_at(state, key, &directory, &files);
            let mut counted = Totals::of(&files);
            // A file that could not be read this time has not started from nothing when it can be the next time.
            counted.io = counted.io.or(seen.counted.io);
            state.roles.entry(Arc::clone(&seen.role)).or_default().add(counted, seen.counted);
            seen.counted = counted;
            sums.entry(Arc::clone(&seen.role)).or_default().add(&files, seen.max_fds);
            alive.insert(key, seen);
        }
        state.processes = alive;
        sums
    }

    /// What is known of a process, its settings read again where they may have changed.
    fn look_at(
        &self,
        state: &mut State,
        key: (i32, u64),
        directory: &ProcessDirectory,
        files: &ProcessFiles,
    ) -> Seen {
        let mut before = state.processes.remove(&key);
        if let Some(seen) = &mut before {
            seen.scrapes = seen.scrapes.saturating_add(1);
        }
        // Processes take turns, so that no scrape has to read the settings of all.
        let turn = key.0.unsigned_abs() % SETTINGS_EVERY;
        let settled = |seen: &Seen| seen.scrapes > SETTLING && seen.scrapes % SETTINGS_EVERY != turn;
        match before {
            Some(seen) if settled(&seen) && seen.comm == files.comm => seen,
            before => {
                let settings = directory.settings();
                let command_line = hash(&settings.command_line);
                let same_names =
                    |seen: &&Seen| (&seen.comm, seen.command_line) == (&files.comm, command_line);
                let role = match before.as_ref().filter(same_names) {
                    Some(seen) => Arc::clone(&seen.role),
                    None => self.admit(state, directory, &files.comm, &settings.command_line),
                };
                let (counted, scrapes) = before.map(|seen| (seen.counted, seen.scrapes)).unwrap_or_default();
                Seen {
                    role,
                    comm: files.comm.clone(),
                    command_line,
                    max_fds: settings.max_fds,
                    counted,
                    scrapes,
                }
            }
        }
    }

    /// The role of a process, or [`OTHER`] where the target has no room for another one.
    fn admit(
        &self,
        state: &State,
        directory: &ProcessDirectory,
        comm: &str,
        command_line: &[u8],
    ) -> Arc<str> {
        let role = role(directory.executable().as_os_str().as_bytes(), comm, command_line);
        if let Some((known, _)) = state.roles.get_key_value(role.as_str()) {
            return Arc::clone(known);
        }
        let named = state.roles.keys().filter(|known| known.as_ref() != OTHER).count();
        if named < self.max_roles || role == OTHER {
            return role.into();
        }
        let [processes, ..] = &METRICS;
        self.overflow.record(processes, "process");
        OTHER.into()
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
    Some(role(executable.as_os_str().as_bytes(), &comm, &command_line))
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
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
        for (target, state, sums) in jobs {
            for (role, totals) in &state.roles {
                let labels = [&target.labels.container, &target.labels.app, role.as_ref()];
                write(families, labels, totals, sums.get(role), boot);
            }
            states.insert(target.id, state);
        }
        Ok(())
    }
}

/// Writes the series of one role; one without a live process keeps its counters and shows zeroes.
fn write(
    families: &mut Families,
    labels: [&str; 3],
    totals: &Totals,
    sums: Option<&Sums>,
    boot: Option<u64>,
) {
    let [
        processes,
        cpu_seconds,
        resident,
        virtual_memory,
        open_fds,
        max_fds,
        threads,
        start_time,
        context_switches,
        io_bytes,
    ] = &METRICS;
    let none = Sums::default();
    let sums = sums.unwrap_or(&none);
    families.value(processes, &labels, sums.processes as f64);
    families.value(resident, &labels, sums.resident_bytes as f64);
    families.value(virtual_memory, &labels, sums.virtual_bytes as f64);
    families.value(threads, &labels, sums.threads as f64);
    let ticks_per_second = procfs::ticks_per_second() as f64;
    let start = sums.oldest_start_ticks.zip(boot);
    let start = start.map(|(ticks, boot)| boot as f64 + ticks as f64 / ticks_per_second);
    let open = sums.open_fds.map(|open| open as f64);
    let max = sums.max_fds.map(|max| max as f64);
    for (metric, value) in [(open_fds, open), (max_fds, max), (start_time, start)] {
        if let Some(value) = value {
            families.value(metric, &labels, value);
        }
    }
    let [container, app, role] = labels;
    let mut counter = |metric, kind, value| families.value(metric, &[container, app, role, kind], value);
    counter(cpu_seconds, "user", totals.user_ticks as f64 / ticks_per_second);
    counter(cpu_seconds, "system", totals.system_ticks as f64 / ticks_per_second);
    counter(context_switches, "voluntary", totals.voluntary_switches as f64);
    counter(context_switches, "involuntary", totals.involuntary_switches as f64);
    if let Some((read, written)) = totals.io {
        counter(io_bytes, "read", read as f64);
        counter(io_bytes, "write", written as f64);
    }
}

#[cfg(test)]
mod tests;
