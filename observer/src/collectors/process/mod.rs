//! The processes of each target, summed by role; what a process counted stays in its role's totals when it exits.
//! A process that came and went between two scrapes is not seen; one that exits counts up to the last scrape.

pub mod files;
mod role;
mod role_words;
mod totals;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Collector, Families, Kind, Metric,
    cgroup::{files::processes, mounts::CgroupMounts},
    overflow::{LabelOverflow, OTHER},
};
use crate::targets::{Target, TargetId, TargetList};
use files::{ProcessDirectory, ProcessFiles, boot_time};
use role::role;
use totals::{Sums, Totals};

/// How many roles a target has before further ones are called `other`.
pub const MAX_ROLES: usize = 16;

const fn metric(
    name: &'static str,
    help: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
) -> Metric {
    Metric {
        name,
        help,
        kind,
        labels,
        of_target: true,
    }
}

static METRICS: [Metric; 10] = [
    metric("processes", "Live processes.", Kind::Gauge, &["process"]),
    metric(
        "process_cpu_seconds_total",
        "CPU time of all threads, as of the last scrape that saw the process.",
        Kind::Counter,
        &["process", "mode"],
    ),
    metric(
        "process_resident_memory_bytes",
        "Resident memory; pages that processes share count for each of them.",
        Kind::Gauge,
        &["process"],
    ),
    metric(
        "process_virtual_memory_bytes",
        "Size of the address spaces.",
        Kind::Gauge,
        &["process"],
    ),
    metric(
        "process_open_fds",
        "Open file descriptors.",
        Kind::Gauge,
        &["process"],
    ),
    metric(
        "process_max_fds",
        "Lowest soft limit of open files among the role's processes; it holds for each process by itself.",
        Kind::Gauge,
        &["process"],
    ),
    metric("process_threads", "Threads.", Kind::Gauge, &["process"]),
    metric(
        "process_start_time_seconds",
        "Start of the role's oldest process, in seconds since the epoch.",
        Kind::Gauge,
        &["process"],
    ),
    metric(
        "process_context_switches_total",
        "Context switches of the main threads, as of the last scrape that saw the process.",
        Kind::Counter,
        &["process", "type"],
    ),
    metric(
        "process_io_bytes_total",
        "Bytes read from and written to storage, as of the last scrape that saw the process.",
        Kind::Counter,
        &["process", "direction"],
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
    /// Of its names: when they change (`exec`, a title set later), its role is looked up again.
    names: u64,
    counted: Totals,
}

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
        Self {
            targets,
            proc_root,
            mounts,
            overflow,
            max_roles,
            states: Mutex::default(),
        }
    }

    /// Brings a target's state up to date and sums what lives.
    fn update(&self, state: &mut State, target: &Target) -> BTreeMap<Arc<str>, Sums> {
        let mut pids: Vec<i32> = target
            .cgroups
            .iter()
            .flat_map(|cgroup| processes(&self.mounts.directory(cgroup)))
            .collect();
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
            let before = state.processes.remove(&key);
            let (earlier, names) = (before.as_ref().map(|seen| seen.counted), hash_of_names(&files));
            let role = match before {
                Some(seen) if seen.names == names => seen.role,
                _ => self.admit(state, &directory, &files),
            };
            let mut counted = Totals::of(&files);
            // A file that could not be read this time has not started from nothing when it can be the next time.
            counted.io = counted.io.or(earlier.and_then(|earlier| earlier.io));
            state
                .roles
                .entry(Arc::clone(&role))
                .or_default()
                .add(counted, earlier.unwrap_or_default());
            sums.entry(Arc::clone(&role)).or_default().add(&files);
            alive.insert(key, Seen { role, names, counted });
        }
        state.processes = alive;
        sums
    }

    /// The role of a process, or [`OTHER`] where the target has no room for another one.
    fn admit(&self, state: &State, directory: &ProcessDirectory, files: &ProcessFiles) -> Arc<str> {
        let executable = directory.executable();
        let role = role(
            executable.as_os_str().as_bytes(),
            &files.comm,
            &files.command_line,
        );
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

fn hash_of_names(files: &ProcessFiles) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&files.comm, &files.command_line).hash(&mut hasher);
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
        let listed: HashSet<TargetId> = targets.iter().map(|target| target.id).collect();
        states.retain(|id, _| listed.contains(id));
        for target in targets.iter() {
            let state = states.entry(target.id).or_default();
            let sums = self.update(state, target);
            for (role, totals) in &state.roles {
                let sums = sums.get(role);
                write(
                    families,
                    [&target.labels.container, &target.labels.app, role],
                    totals,
                    sums,
                    boot,
                );
            }
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
    counter(
        cpu_seconds,
        "system",
        totals.system_ticks as f64 / ticks_per_second,
    );
    counter(context_switches, "voluntary", totals.voluntary_switches as f64);
    counter(
        context_switches,
        "involuntary",
        totals.involuntary_switches as f64,
    );
    if let Some((read, written)) = totals.io {
        counter(io_bytes, "read", read as f64);
        counter(io_bytes, "write", written as f64);
    }
}

#[cfg(test)]
mod tests;
