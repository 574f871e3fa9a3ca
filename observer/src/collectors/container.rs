//! The cgroup of each target: CPU, memory, I/O, processes and pressure, from v2 files or else from those of v1.
//! Counters of a target go on when its container is made anew: what each cgroup adds is summed.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Collector, Families, Kind, Metric, oom_kills::Before, parallel};
use crate::{
    cgroup::{
        files::Reader,
        mounts::{CgroupMounts, V1Directories},
        usage::{self, Counters, Gauges, RESOURCES},
    },
    kernel::{Kills, OomKills},
    targets::{Target, TargetId, TargetList},
};

/// How long a cgroup without directories in the v1 hierarchies is left alone before they are looked for again: a
/// runtime makes them one after the other.
const RETRY_V1: Duration = Duration::from_secs(10);

/// How long a cgroup is remembered that is gone: what the kernel half counted of it may be told later.
const REMEMBERED: Duration = Duration::from_secs(10);

pub(crate) static METRICS: [Metric; 9] = [
    Metric::of_target(
        "container_cpu_usage_seconds_total",
        Kind::Counter,
        &[],
        "CPU time of the target's cgroups.",
    ),
    Metric::of_target(
        "container_cpu_throttled_seconds_total",
        Kind::Counter,
        &[],
        "Time for which the CPU quota kept the target from running.",
    ),
    Metric::of_target(
        "container_memory_usage_bytes",
        Kind::Gauge,
        &[],
        "Memory charged to the target, page cache included.",
    ),
    Metric::of_target(
        "container_memory_working_set_bytes",
        Kind::Gauge,
        &[],
        "Memory charged to the target without inactive page cache; what the kernel cannot take back at once.",
    ),
    Metric::of_target(
        "container_memory_limit_bytes",
        Kind::Gauge,
        &[],
        "Memory limit of the target's cgroups; absent where one of them has no limit.",
    ),
    Metric::of_target(
        "container_oom_kills_total",
        Kind::Counter,
        &[],
        "Processes killed because the target ran out of memory.",
    ),
    Metric::of_target("container_pids", Kind::Gauge, &[], "Processes and threads in the target's cgroups."),
    Metric::of_target(
        "container_io_bytes_total",
        Kind::Counter,
        &["direction"],
        "Bytes read from and written to block devices.",
    ),
    Metric::of_target(
        "container_pressure_seconds_total",
        Kind::Counter,
        &["resource", "kind"],
        "Time for which some or all of the target's tasks waited for a resource.",
    ),
];

/// The cgroup half of the section "Processes and cgroup".
pub struct ContainerCollector {
    targets: Arc<dyn TargetList>,
    proc_root: PathBuf,
    mounts: Arc<CgroupMounts>,
    kills: Arc<dyn OomKills>,
    states: Mutex<HashMap<TargetId, State>>,
}

/// What is remembered of a target between scrapes.
#[derive(Default)]
struct State {
    totals: Counters,
    cgroups: HashMap<u64, Seen>,
}

/// A cgroup as of the last scrape that found it.
#[derive(Default)]
struct Seen {
    path: PathBuf,
    counted: Counters,
    v1: V1Directories,
    looked_for_v1: Option<Instant>,
    /// The last scrape that found it.
    attached: Option<Instant>,
    kills_before: Before,
}

impl ContainerCollector {
    /// Reads the hierarchies of `mounts`; `proc_root` tells where a process is in those of v1, and `kills` what the
    /// cgroups' files do not tell.
    pub fn new(
        targets: Arc<dyn TargetList>,
        proc_root: PathBuf,
        mounts: Arc<CgroupMounts>,
        kills: Arc<dyn OomKills>,
    ) -> Self {
        Self { targets, proc_root, mounts, kills, states: Mutex::default() }
    }

    /// Brings a target's totals up to date and sums what goes up and down.
    fn update(&self, state: &mut State, target: &Target, kills: &Kills) -> Gauges {
        for ended in kills.ended.iter().filter(|ended| ended.target == target.id) {
            let mut unseen = Seen::default();
            let seen = state.cgroups.get_mut(&ended.cgroup).unwrap_or(&mut unseen);
            let all = seen.kills_before.all(None, ended.kills);
            state.totals.add(Counters { oom_kills: all, ..Counters::default() }, &mut seen.counted);
        }
        let mut reader = Reader::default();
        let mut sums: Option<Gauges> = None;
        let now = Instant::now();
        for cgroup in &target.cgroups {
            let Some(directory) = self.mounts.directory(cgroup) else {
                continue;
            };
            let seen = state.cgroups.entry(cgroup.id).or_default();
            seen.attached = Some(now);
            seen.path.clone_from(&cgroup.path);
            if seen.v1.is_empty() && seen.looked_for_v1.is_none_or(|then| then.elapsed() >= RETRY_V1) {
                seen.v1 = self.mounts.v1_directories(&self.proc_root, cgroup);
                seen.looked_for_v1 = Some(now);
            }
            let (mut counters, gauges) = usage::read(&directory, &seen.v1, &mut reader);
            let killed = kills.attached.get(&cgroup.id).copied().unwrap_or_default();
            counters.oom_kills = seen.kills_before.all(counters.oom_kills, killed);
            state.totals.add(counters, &mut seen.counted);
            sums = Some(sums.map_or(gauges, |sums| sums.plus(gauges)));
        }
        // One that is left and still there may come back, and has counted on meanwhile: its whole life would be added
        // again if it were forgotten.
        let there =
            |id: u64, path: &Path| self.mounts.unified.get(path).is_some_and(|cgroup| cgroup.id == id);
        state.cgroups.retain(|id, seen| {
            seen.attached.is_some_and(|then| then.elapsed() < REMEMBERED) || there(*id, &seen.path)
        });
        sums.unwrap_or_default()
    }
}

impl Collector for ContainerCollector {
    fn name(&self) -> &'static str {
        "container"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn collect(&self, families: &mut Families) -> anyhow::Result<()> {
        let targets = self.targets.targets();
        let kills = self.kills.take()?;
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        // What is left in here after every target has taken its state belongs to targets that are gone.
        let mut left = std::mem::take(&mut *states);
        let mut jobs: Vec<(&Target, State, Gauges)> = targets
            .iter()
            .map(|target| (target, left.remove(&target.id).unwrap_or_default(), Gauges::default()))
            .collect();
        parallel::for_each(&mut jobs, |(target, state, gauges)| {
            *gauges = self.update(state, target, &kills);
        });
        for (target, state, gauges) in jobs {
            write(families, target, &state.totals, &gauges);
            states.insert(target.id, state);
        }
        Ok(())
    }
}

/// Writes the series of one target; what no file says is absent.
fn write(families: &mut Families, target: &Target, totals: &Counters, gauges: &Gauges) {
    let [cpu_usage, cpu_throttled, usage, working_set, limit, oom_kills, pids, io_bytes, pressure] = &METRICS;
    let (container, app) = (target.labels.container.as_str(), target.labels.app.as_str());
    let mut value = |metric, labels: &[&str], value: Option<f64>| {
        if let Some(value) = value {
            families.value(metric, &[&[container, app], labels].concat(), value);
        }
    };
    let number = |value: Option<u64>| value.map(|value| value as f64);
    let seconds = |value, per_second| number(value).map(|value| value / per_second);
    value(cpu_usage, &[], seconds(totals.cpu_nanoseconds, 1e9));
    value(cpu_throttled, &[], seconds(totals.throttled_nanoseconds, 1e9));
    value(usage, &[], number(gauges.usage_bytes));
    value(working_set, &[], number(gauges.working_set_bytes));
    value(limit, &[], number(gauges.limit_bytes));
    value(oom_kills, &[], number(totals.oom_kills));
    value(pids, &[], number(gauges.pids));
    value(io_bytes, &["read"], number(totals.read_bytes));
    value(io_bytes, &["write"], number(totals.written_bytes));
    for (resource, waited) in RESOURCES.iter().zip(totals.pressure_microseconds) {
        for (kind, waited) in ["some", "full"].iter().zip(waited) {
            value(pressure, &[resource, kind], seconds(waited, 1e6));
        }
    }
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
