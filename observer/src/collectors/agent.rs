//! The agent about itself: which build, how many targets, what a scrape costs, its own process.
//! These are written last in a scrape, when the outcomes of all other collectors are known.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    Families, Kind, Metric, Outcome,
    metric::{HistogramValue, SHORT},
    overflow::LabelOverflow,
    process::files::{ProcessDirectory, boot_time},
};
use crate::targets::TargetList;

pub(crate) static METRICS: [Metric; 13] = [
    Metric::of_agent(
        "observer_build_info",
        Kind::Gauge,
        &["version", "revision", "kernel"],
        "Version and source revision of the agent and release of the kernel; always 1.",
    ),
    Metric::of_agent("observer_targets", Kind::Gauge, &["state"], "Targets by state."),
    Metric::of_agent(
        "observer_label_overflow_total",
        Kind::Counter,
        &["metric", "label"],
        "Label values that were written as `other` because the label's budget was used up.",
    ),
    Metric::of_agent("observer_series", Kind::Gauge, &[], "Series in this scrape."),
    Metric::of_agent(
        "observer_scrape_duration_seconds",
        Kind::Histogram(SHORT),
        &[],
        "Time that earlier scrapes took, from the first collector to the encoded text.",
    ),
    Metric::of_agent(
        "observer_collector_success",
        Kind::Gauge,
        &["collector"],
        "1 where the collector worked in this scrape, 0 where its metrics are incomplete.",
    ),
    Metric::of_agent(
        "process_cpu_seconds_total",
        Kind::Counter,
        &[],
        "Total user and system CPU time spent in seconds.",
    ),
    Metric::of_agent("process_open_fds", Kind::Gauge, &[], "Number of open file descriptors."),
    Metric::of_agent("process_max_fds", Kind::Gauge, &[], "Maximum number of open file descriptors."),
    Metric::of_agent("process_virtual_memory_bytes", Kind::Gauge, &[], "Virtual memory size in bytes."),
    Metric::of_agent("process_resident_memory_bytes", Kind::Gauge, &[], "Resident memory size in bytes."),
    Metric::of_agent(
        "process_start_time_seconds",
        Kind::Gauge,
        &[],
        "Start time of the process since unix epoch in seconds.",
    ),
    Metric::of_agent("process_threads", Kind::Gauge, &[], "Number of OS threads in the process."),
];

/// What was built and where it runs (`observer_build_info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The package's version.
    pub version: String,
    /// Commit that was built, or empty.
    pub revision: String,
    /// The kernel's release, as `uname -r` says it.
    pub kernel: String,
}

/// What the agent's own metrics are made from.
pub struct Agent {
    targets: Arc<dyn TargetList>,
    proc_root: PathBuf,
    build: BuildInfo,
    overflow: LabelOverflow,
    durations: Mutex<HistogramValue>,
}

impl BuildInfo {
    /// This build (its revision is `OBSERVER_REVISION` of the build's environment), on the kernel of `proc_root`.
    pub fn current(proc_root: &Path) -> Self {
        let release = fs::read_to_string(proc_root.join("sys/kernel/osrelease")).unwrap_or_default();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: option_env!("OBSERVER_REVISION").unwrap_or_default().to_owned(),
            kernel: release.trim().to_owned(),
        }
    }
}

impl Agent {
    /// Every metric that [`Agent::collect`] writes.
    pub fn metrics() -> &'static [Metric] {
        &METRICS
    }

    /// Reads the agent's own process below `proc_root`; `overflow` is the handle that the collectors count into.
    pub fn new(
        targets: Arc<dyn TargetList>,
        proc_root: PathBuf,
        build: BuildInfo,
        overflow: LabelOverflow,
    ) -> Self {
        Self { targets, proc_root, build, overflow, durations: Mutex::new(HistogramValue::empty(SHORT)) }
    }

    /// Counts a scrape that is over.
    pub fn observe_scrape(&self, duration: Duration) {
        let mut durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        durations.observe(SHORT, duration.as_secs_f64());
    }

    /// Writes the agent's metrics, after all others.
    pub fn collect(&self, families: &mut Families, outcomes: &[Outcome]) {
        let [build_info, targets, label_overflow, series, scrape_duration, collector_success, ..] = &METRICS;
        let BuildInfo { version, revision, kernel } = &self.build;
        families.value(build_info, &[version, revision, kernel], 1.0);
        let counts = self.targets.state_counts();
        families.value(targets, &["observed"], counts.observed as f64);
        families.value(targets, &["waiting"], counts.waiting as f64);
        families.value(targets, &["failed"], counts.failed as f64);
        for count in self.overflow.counts() {
            let name = families.full_name(count.metric);
            families.value(label_overflow, &[&name, count.label], count.overflows as f64);
        }
        for outcome in outcomes {
            families.value(collector_success, &[outcome.collector], f64::from(u8::from(outcome.success)));
        }
        self.collect_process(families);
        let durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        families.histogram(scrape_duration, &[], &durations);
        families.value(series, &[], (families.series() + 1) as f64);
    }

    fn collect_process(&self, families: &mut Families) {
        let [.., cpu_seconds, open_fds, max_fds, virtual_memory, resident_memory, start_time, threads] =
            &METRICS;
        let process = ProcessDirectory::open(&self.proc_root, "self");
        let read = process.and_then(|process| Some((process.read()?, process.max_fds())));
        let Some((files, max)) = read else {
            return;
        };
        let ticks_per_second = procfs::ticks_per_second() as f64;
        let boot = boot_time(&self.proc_root);
        let values = [
            (cpu_seconds, Some((files.user_ticks + files.system_ticks) as f64 / ticks_per_second)),
            (open_fds, files.open_fds.map(|open| open as f64)),
            (max_fds, max.map(|max| max as f64)),
            (virtual_memory, Some(files.virtual_bytes as f64)),
            (resident_memory, Some(files.resident_bytes as f64)),
            (start_time, boot.map(|boot| boot as f64 + files.start_ticks as f64 / ticks_per_second)),
            (threads, Some(files.threads as f64)),
        ];
        for (metric, value) in values {
            if let Some(value) = value {
                families.value(metric, &[], value);
            }
        }
    }
}
