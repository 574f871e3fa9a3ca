//! What one cgroup has used and uses now: each file is read once, that of v2 first, else that of v1.
//! On a hybrid host the v2 directory has only the files that need no controller (`cpu.stat`, `*.pressure`).

use std::path::Path;

use super::{
    files::{Reader, io_service_bytes, io_stat, keyed, limit, pressure, single},
    mounts::V1Directories,
};

/// The resources with a pressure file, in the order of [`Counters::pressure_microseconds`].
pub const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

/// What counts up; `None` where no file has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// CPU time.
    pub cpu_nanoseconds: Option<u64>,
    /// Time held back by the CPU quota.
    pub throttled_nanoseconds: Option<u64>,
    /// Processes that the OOM killer took.
    pub oom_kills: Option<u64>,
    /// Read from block devices.
    pub read_bytes: Option<u64>,
    /// Written to block devices.
    pub written_bytes: Option<u64>,
    /// Time for which some and all tasks waited, by [`RESOURCES`].
    pub pressure_microseconds: [[Option<u64>; 2]; RESOURCES.len()],
}

/// What goes up and down; `None` where no file has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Memory charged, page cache included.
    pub usage_bytes: Option<u64>,
    /// The same without inactive page cache, as the kubelet and cAdvisor define it.
    pub working_set_bytes: Option<u64>,
    /// Memory limit; `None` also where there is none.
    pub limit_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// Reads the files of one cgroup: its directory in the v2 hierarchy, and those in the v1 hierarchies.
pub fn read(directory: &Path, v1: &V1Directories, reader: &mut Reader) -> (Counters, Gauges) {
    let mut files = Files { directory, v1, reader };
    (files.counters(), files.gauges())
}

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

    fn counters(&mut self) -> Counters {
        // Every v2 cgroup knows its CPU time, whether or not it has the controller.
        let cpu = self.v2("cpu.stat", |text| {
            let nanoseconds = |key| Some(keyed(text, key)? * 1000);
            Some((nanoseconds("usage_usec"), nanoseconds("throttled_usec")))
        });
        let (used, throttled) = cpu.unwrap_or_default();
        let throttled_time = |text: &str| keyed(text, "throttled_time");
        let oom_kill = |text: &str| keyed(text, "oom_kill");
        let io = self
            .v2("io.stat", |text| Some(io_stat(text)))
            .or_else(|| self.v1_io("blkio.throttle.io_service_bytes_recursive"))
            .or_else(|| self.v1_io("blkio.throttle.io_service_bytes"));
        Counters {
            cpu_nanoseconds: used.or_else(|| self.v1("cpuacct", "cpuacct.usage", single)),
            throttled_nanoseconds: throttled.or_else(|| self.v1("cpu", "cpu.stat", throttled_time)),
            oom_kills: self
                .v2("memory.events", oom_kill)
                .or_else(|| self.v1("memory", "memory.oom_control", oom_kill)),
            read_bytes: io.map(|(read, _)| read),
            written_bytes: io.map(|(_, written)| written),
            pressure_microseconds: RESOURCES.map(|resource| {
                let waited = self.v2(&format!("{resource}.pressure"), |text| Some(pressure(text)));
                waited.map_or([None; 2], |(some, full)| [some, full])
            }),
        }
    }

    fn v1_io(&mut self, file: &str) -> Option<(u64, u64)> {
        self.v1("blkio", file, |text| Some(io_service_bytes(text)))
    }

    fn gauges(&mut self) -> Gauges {
        let usage = self.v2("memory.current", single);
        let (usage, inactive, limit) = if usage.is_some() {
            let inactive = self.v2("memory.stat", |text| keyed(text, "inactive_file"));
            (usage, inactive, self.v2("memory.max", limit))
        } else {
            let usage = self.v1("memory", "memory.usage_in_bytes", single);
            let inactive = self.v1("memory", "memory.stat", |text| keyed(text, "total_inactive_file"));
            (usage, inactive, self.v1("memory", "memory.limit_in_bytes", limit))
        };
        let pids = self.v2("pids.current", single);
        Gauges {
            usage_bytes: usage,
            working_set_bytes: usage.zip(inactive).map(|(usage, inactive)| usage.saturating_sub(inactive)),
            limit_bytes: limit,
            pids: pids.or_else(|| self.v1("pids", "pids.current", single)),
        }
    }
}

impl Counters {
    /// Adds what a cgroup counted since it was last looked at (`counted`), and remembers what it says now.
    pub fn add(&mut self, mut now: Self, counted: &mut Self) {
        let fields = self.fields().into_iter().zip(now.fields()).zip(counted.fields());
        for ((total, now), counted) in fields {
            if let Some(now) = *now {
                *total.get_or_insert_default() += now.saturating_sub(counted.unwrap_or_default());
                *counted = Some(now);
            }
        }
    }

    fn fields(&mut self) -> [&mut Option<u64>; 11] {
        let Self {
            cpu_nanoseconds,
            throttled_nanoseconds,
            oom_kills,
            read_bytes,
            written_bytes,
            pressure_microseconds: [[cpu_some, cpu_full], [memory_some, memory_full], [io_some, io_full]],
        } = self;
        [
            cpu_nanoseconds,
            throttled_nanoseconds,
            oom_kills,
            read_bytes,
            written_bytes,
            cpu_some,
            cpu_full,
            memory_some,
            memory_full,
            io_some,
            io_full,
        ]
    }
}

impl Gauges {
    /// The sum of two cgroups.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let sum = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).reduce(|a, b| a + b);
        Self {
            usage_bytes: sum(self.usage_bytes, other.usage_bytes),
            working_set_bytes: sum(self.working_set_bytes, other.working_set_bytes),
            // Two cgroups of which one may take all memory have no limit together.
            limit_bytes: self.limit_bytes.zip(other.limit_bytes).map(|(one, other)| one + other),
            pids: sum(self.pids, other.pids),
        }
    }
}
