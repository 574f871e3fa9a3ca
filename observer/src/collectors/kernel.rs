//! The kernel half about itself: which programs run, what they cost, what was read from the ring, what was lost.
//! What it lost is a metric, so that a number that may be wrong shows as such.

use std::{fs, sync::Arc};

use super::{Collector, Families, Kind, Metric};
use crate::kernel::{Kernel, Records};

pub(super) static METRICS: [Metric; 5] = [
    Metric::of_agent(
        "observer_program_attached",
        Kind::Gauge,
        &["program", "reason"],
        "1 where a program of the kernel half runs, 0 with the reason where this kernel refused it.",
    ),
    Metric::of_agent(
        "observer_program_run_seconds_total",
        Kind::Counter,
        &["program"],
        "Time spent in a program on all CPUs; only while kernel.bpf_stats_enabled is 1.",
    ),
    Metric::of_agent(
        "observer_program_runs_total",
        Kind::Counter,
        &["program"],
        "Runs of a program on all CPUs; only while kernel.bpf_stats_enabled is 1.",
    ),
    Metric::of_agent(
        "observer_records_total",
        Kind::Counter,
        &["kind"],
        "Records that the kernel half sent through the ring.",
    ),
    Metric::of_agent(
        "observer_records_lost_total",
        Kind::Counter,
        &["kind", "reason"],
        "What the kernel half could not send or keep, or the agent could not read.",
    ),
];

/// Whether the kernel counts run times (`kernel.bpf_stats_enabled`).
const STATS_ENABLED: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel half's part of the section "The agent about itself".
pub struct KernelCollector {
    kernel: Arc<Kernel>,
    records: Records,
}

impl KernelCollector {
    /// Shows the state of `kernel` and the counts of its ring's reader.
    pub fn new(kernel: Arc<Kernel>, records: Records) -> Self {
        Self { kernel, records }
    }
}

impl Collector for KernelCollector {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn collect(&self, families: &mut Families) -> anyhow::Result<()> {
        let [attached, run_seconds, runs, records, lost] = &METRICS;
        for state in self.kernel.program_states() {
            let value = if state.attached { 1.0 } else { 0.0 };
            families.value(attached, &[state.name, &state.reason], value);
        }
        if fs::read_to_string(STATS_ENABLED).is_ok_and(|enabled| enabled.trim() == "1") {
            for program in self.kernel.program_runs() {
                families.value(run_seconds, &[program.name], program.time.as_secs_f64());
                families.value(runs, &[program.name], program.runs as f64);
            }
        }
        families.value(records, &["cgroup"], self.records.cgroup() as f64);
        families.value(lost, &["unknown", "unparsed"], self.records.unparsed() as f64);
        for loss in self.kernel.counts().lost()? {
            families.value(lost, &[loss.kind, loss.reason], loss.count as f64);
        }
        Ok(())
    }
}
