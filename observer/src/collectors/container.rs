//! The cgroup of each target: CPU, memory, I/O, processes and pressure, from v2 files or else from those of v1.
//! Counters of a target go on when its container is made anew: what each cgroup adds is summed.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Collector, Families, Kind, Metric,
    cgroup_files::{self, Reader},
    cgroup_mounts::{CgroupMounts, V1Directories},
};
use crate::targets::{Cgroup, Target, TargetId, TargetList};

/// How long a cgroup without directories in the v1 hierarchies is left alone before they are looked for again: a
/// runtime makes them one after the other.
const RETRY_V1: Duration = Duration::from_secs(10);

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

static METRICS: [Metric; 9] = [
    metric(
        "container_cpu_usage_seconds_total",
        "CPU time of the target's cgroups.",
        Kind::Counter,
        &[],
    ),
    metric(
        "container_cpu_throttled_seconds_total",
        "Time for which the CPU quota kept the target from running.",
        Kind::Counter,
        &[],
    ),
    metric(
        "container_memory_usage_bytes",
        "Memory charged to the target, page cache included.",
        Kind::Gauge,
        &[],
    ),
    metric(
        "container_memory_working_set_bytes",
        "Memory charged to the target without inactive page cache; what the kernel cannot take back at once.",
        Kind::Gauge,
        &[],
    ),
    metric(
        "container_memory_limit_bytes",
        "Memory limit of the target's cgroups; absent where one of them has no limit.",
        Kind::Gauge,
        &[],
    ),
    metric(
        "container_oom_kills_total",
        "Processes killed because the target ran out of memory.",
        Kind::Counter,
        &[],
    ),
    metric(
        "container_pids",
        "Processes and threads in the target's cgroups.",
        Kind::Gauge,
        &[],
    ),
    metric(
        "container_io_bytes_total",
        "Bytes read from and written to block devices.",
        Kind::Counter,
        &["direction"],
    ),
    metric(
        "container_pressure_seconds_total",
        "Time for which some or all of the target's tasks waited for a resource.",
        Kind::Counter,
        &["resource", "kind"],
    ),
];

/// What counts up in a cgroup's files, in the order of [`Counters`].
#[derive(Clone, Copy)]
enum Counter {
    CpuNanoseconds,
    ThrottledNanoseconds,
    OomKills,
    ReadBytes,
    WrittenBytes,
    /// Microseconds of [`RESOURCES`] in their order, `some` before `full`.
    Pressure(usize, usize),
}

const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];
const KINDS: [&str; 2] = ["some", "full"];
const COUNTERS: usize = 5 + RESOURCES.len() * KINDS.len();

/// One value per [`Counter`]; `None` where no file has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters([Option<u64>; COUNTERS]);

/// What goes up and down in the files of one cgroup or, summed, of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gauges {
    usage: Option<u64>,
    working_set: Option<u64>,
    limit: Option<u64>,
    pids: Option<u64>,
}

/// The cgroup half of the section "Processes and cgroup".
pub struct ContainerCollector {
    targets: Arc<dyn TargetList>,
    proc_root: PathBuf,
    mounts: Arc<CgroupMounts>,
    states: Mutex<HashMap<TargetId, State>>,
}

/// What is remembered of a target between scrapes.
#[derive(Default)]
struct State {
    totals: Counters,
    cgroups: HashMap<u64, Seen>,
}

/// An attached cgroup as of the last scrape.
struct Seen {
    counted: Counters,
    v1: V1Directories,
    looked_for_v1: Instant,
}

impl ContainerCollector {
    /// Reads the hierarchies of `mounts`; `proc_root` tells where a process is in those of v1.
    pub fn new(targets: Arc<dyn TargetList>, proc_root: PathBuf, mounts: Arc<CgroupMounts>) -> Self {
        Self {
            targets,
            proc_root,
            mounts,
            states: Mutex::default(),
        }
    }

    /// Brings a target's totals up to date and sums what goes up and down.
    fn update(&self, state: &mut State, target: &Target, reader: &mut Reader) -> Gauges {
        let mut sums: Option<Gauges> = None;
        let mut attached = HashMap::with_capacity(target.cgroups.len());
        for cgroup in &target.cgroups {
            let mut seen = match state.cgroups.remove(&cgroup.id) {
                Some(seen) if !seen.v1.is_empty() || seen.looked_for_v1.elapsed() < RETRY_V1 => seen,
                before => Seen {
                    counted: before.map(|seen| seen.counted).unwrap_or_default(),
                    v1: self.mounts.v1_directories(&self.proc_root, cgroup),
                    looked_for_v1: Instant::now(),
                },
            };
            let (counters, gauges) = self.read(cgroup, &seen.v1, reader);
            state.totals.add(counters, &mut seen.counted);
            sums = Some(sums.map_or(gauges, |sums| sums.plus(gauges)));
            attached.insert(cgroup.id, seen);
        }
        state.cgroups = attached;
        sums.unwrap_or_default()
    }

    /// Reads each file of one cgroup once.
    fn read(&self, cgroup: &Cgroup, v1: &V1Directories, reader: &mut Reader) -> (Counters, Gauges) {
        let directory = self.mounts.directory(cgroup);
        let mut counters = Counters::default();
        let mut files = Files {
            directory: &directory,
            v1,
            reader,
        };
        // Every v2 cgroup knows its CPU time, whether or not the controller is there.
        let cpu = files.v2("cpu.stat", |text| {
            let nanoseconds = |key| Some(cgroup_files::keyed(text, key)? * 1000);
            Some((nanoseconds("usage_usec"), nanoseconds("throttled_usec")))
        });
        let (usage, throttled) = cpu.unwrap_or_default();
        let usage = usage.or_else(|| files.v1("cpuacct", "cpuacct.usage", cgroup_files::single));
        counters.set(Counter::CpuNanoseconds, usage);
        let throttled = throttled.or_else(|| {
            files.v1("cpu", "cpu.stat", |text| {
                cgroup_files::keyed(text, "throttled_time")
            })
        });
        counters.set(Counter::ThrottledNanoseconds, throttled);
        let oom_kill = |text: &str| cgroup_files::keyed(text, "oom_kill");
        let oom_kills = files
            .v2("memory.events", oom_kill)
            .or_else(|| files.v1("memory", "memory.oom_control", oom_kill));
        counters.set(Counter::OomKills, oom_kills);
        let io_service_bytes = |text: &str| Some(cgroup_files::io_service_bytes(text));
        let io = files
            .v2("io.stat", |text| Some(cgroup_files::io_stat(text)))
            .or_else(|| {
                files.v1(
                    "blkio",
                    "blkio.throttle.io_service_bytes_recursive",
                    io_service_bytes,
                )
            })
            .or_else(|| files.v1("blkio", "blkio.throttle.io_service_bytes", io_service_bytes));
        counters.set(Counter::ReadBytes, io.map(|(read, _)| read));
        counters.set(Counter::WrittenBytes, io.map(|(_, written)| written));
        for (resource, name) in RESOURCES.iter().enumerate() {
            let pressure = files.v2(&format!("{name}.pressure"), |text| {
                Some(cgroup_files::pressure(text))
            });
            let (some, full) = pressure.unwrap_or_default();
            counters.set(Counter::Pressure(resource, 0), some);
            counters.set(Counter::Pressure(resource, 1), full);
        }
        (counters, files.gauges())
    }
}

/// The files of one cgroup.
struct Files<'a> {
    directory: &'a Path,
    v1: &'a V1Directories,
    reader: &'a mut Reader,
}

impl Files<'_> {
    fn v2<T>(&mut self, file: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        parse(self.reader.read(&self.directory.join(file))?)
    }

    fn v1<T>(&mut self, controller: &str, file: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        parse(self.reader.read(&self.v1.of(controller)?.join(file))?)
    }

    fn gauges(&mut self) -> Gauges {
        use cgroup_files::{keyed, limit, single};
        let usage = self.v2("memory.current", single);
        let (usage, inactive, limit) = if usage.is_some() {
            let inactive = self.v2("memory.stat", |text| keyed(text, "inactive_file"));
            (usage, inactive, self.v2("memory.max", limit))
        } else {
            let usage = self.v1("memory", "memory.usage_in_bytes", single);
            let inactive = self.v1("memory", "memory.stat", |text| keyed(text, "total_inactive_file"));
            (usage, inactive, self.v1("memory", "memory.limit_in_bytes", limit))
        };
        Gauges {
            usage,
            working_set: usage
                .zip(inactive)
                .map(|(usage, inactive)| usage.saturating_sub(inactive)),
            limit,
            pids: self
                .v2("pids.current", single)
                .or_else(|| self.v1("pids", "pids.current", single)),
        }
    }
}

impl Counter {
    fn position(self) -> usize {
        match self {
            Self::CpuNanoseconds => 0,
            Self::ThrottledNanoseconds => 1,
            Self::OomKills => 2,
            Self::ReadBytes => 3,
            Self::WrittenBytes => 4,
            Self::Pressure(resource, kind) => 5 + resource * KINDS.len() + kind,
        }
    }
}

impl Counters {
    fn get(&self, counter: Counter) -> Option<f64> {
        let value = self.0.get(counter.position()).copied().flatten();
        value.map(|value| value as f64)
    }

    fn set(&mut self, counter: Counter, value: Option<u64>) {
        if let Some(place) = self.0.get_mut(counter.position()) {
            *place = value;
        }
    }

    /// Adds what a cgroup counted since it was last looked at, and remembers that.
    fn add(&mut self, now: Self, counted: &mut Self) {
        for ((total, now), counted) in self.0.iter_mut().zip(now.0).zip(&mut counted.0) {
            if let Some(now) = now {
                *total.get_or_insert_default() += now.saturating_sub(counted.unwrap_or_default());
                *counted = Some(now);
            }
        }
    }
}

impl Gauges {
    fn plus(self, other: Self) -> Self {
        let either = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).reduce(|a, b| a + b);
        Self {
            usage: either(self.usage, other.usage),
            working_set: either(self.working_set, other.working_set),
            // Two cgroups of which one may take all memory have no limit together.
            limit: self.limit.zip(other.limit).map(|(one, other)| one + other),
            pids: either(self.pids, other.pids),
        }
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
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let listed: HashSet<TargetId> = targets.iter().map(|target| target.id).collect();
        states.retain(|id, _| listed.contains(id));
        let mut reader = Reader::default();
        for target in targets.iter() {
            let state = states.entry(target.id).or_default();
            let gauges = self.update(state, target, &mut reader);
            write(families, target, &state.totals, &gauges);
        }
        Ok(())
    }
}

/// Writes the series of one target; what no file says is absent.
fn write(families: &mut Families, target: &Target, totals: &Counters, gauges: &Gauges) {
    let [
        cpu_usage,
        cpu_throttled,
        usage,
        working_set,
        limit,
        oom_kills,
        pids,
        io_bytes,
        pressure,
    ] = &METRICS;
    let (container, app) = (target.labels.container.as_str(), target.labels.app.as_str());
    let mut value = |metric, labels: &[&str], value: Option<f64>| {
        if let Some(value) = value {
            families.value(metric, &[&[container, app], labels].concat(), value);
        }
    };
    let seconds = |counter, per_second| totals.get(counter).map(|value| value / per_second);
    value(cpu_usage, &[], seconds(Counter::CpuNanoseconds, 1e9));
    value(cpu_throttled, &[], seconds(Counter::ThrottledNanoseconds, 1e9));
    value(oom_kills, &[], totals.get(Counter::OomKills));
    value(io_bytes, &["read"], totals.get(Counter::ReadBytes));
    value(io_bytes, &["write"], totals.get(Counter::WrittenBytes));
    for (resource, resource_name) in RESOURCES.iter().enumerate() {
        for (kind, kind_name) in KINDS.iter().enumerate() {
            let waited = seconds(Counter::Pressure(resource, kind), 1e6);
            value(pressure, &[resource_name, kind_name], waited);
        }
    }
    let gauges = [
        (usage, gauges.usage),
        (working_set, gauges.working_set),
        (limit, gauges.limit),
        (pids, gauges.pids),
    ];
    for (metric, gauge) in gauges {
        value(metric, &[], gauge.map(|gauge| gauge as f64));
    }
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
