//! The kernel half about itself: which programs run, what they cost, what was read from the ring, what was lost.
//! What it lost is a metric, so that a number that may be wrong shows as such.

use std::{fs, sync::Arc};

use super::{Collector, Families, Kind, Metric};
use crate::{
    kernel::{Kernel, Read, Records},
    probing::Refused,
    targets::{RefusedProgram, TargetList},
};

pub(crate) static METRICS: [Metric; 7] = [
    Metric::of_agent(
        "observer_program_attached",
        Kind::Gauge,
        &["program", "reason"],
        "1 where a program of the kernel half runs, 0 with the reason where the kernel, an executable or a cgroup does not take it.",
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
        "What the kernel half could not send or keep, or the agent could not read. Of the kind exchange it is the number of \
         exchanges that are missing in the counts, as far as it can be known.",
    ),
    Metric::of_agent(
        "observer_connections_given_up_total",
        Kind::Counter,
        &["reason"],
        "Connections whose HTTP was not followed to their end, so that nobody knows how many exchanges are missing.",
    ),
    Metric::of_agent(
        "observer_l7_bytes_total",
        Kind::Counter,
        &["protocol"],
        "Payload bytes of targets by what they were taken for: how much of the traffic was understood.",
    ),
];

/// Values of the label `kind` of records that were read.
const RECORDS: [(&str, Read); 3] =
    [("cgroup", Read::Cgroup), ("exchange", Read::Exchange), ("request_ahead", Read::RequestAhead)];

/// Whether the kernel counts run times (`kernel.bpf_stats_enabled`).
const STATS_ENABLED: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel half's part of the section "The agent about itself".
pub struct KernelCollector {
    kernel: Arc<Kernel>,
    records: Records,
    refused: Refused,
    targets: Arc<dyn TargetList>,
}

impl KernelCollector {
    /// Shows the state of `kernel`, the counts of its rings' readers, and what executables cannot be probed for and
    /// cgroups of `targets` do not admit.
    pub fn new(
        kernel: Arc<Kernel>,
        records: Records,
        refused: Refused,
        targets: Arc<dyn TargetList>,
    ) -> Self {
        Self { kernel, records, refused, targets }
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
        let [attached, run_seconds, runs, records, lost, given_up, l7_bytes] = &METRICS;
        let refused = self.refused.list();
        for state in self.kernel.program_states() {
            let value = if state.attached { 1.0 } else { 0.0 };
            families.value(attached, &[state.name, &state.reason], value);
        }
        // Beside the program's own line, because another executable may be probed, and another cgroup attached to.
        for (probe, reason) in &refused {
            families.value(attached, &[probe.program(), reason], 0.0);
        }
        for RefusedProgram { program, reason } in self.targets.refused_programs().iter() {
            families.value(attached, &[program, reason], 0.0);
        }
        if fs::read_to_string(STATS_ENABLED).is_ok_and(|enabled| enabled.trim() == "1") {
            for program in self.kernel.program_runs() {
                families.value(run_seconds, &[program.name], program.time.as_secs_f64());
                families.value(runs, &[program.name], program.runs as f64);
            }
        }
        for (kind, read) in RECORDS {
            families.value(records, &[kind], self.records.count(read) as f64);
        }
        families.value(lost, &["unknown", "unparsed"], self.records.count(Read::Unparsed) as f64);
        let of_nobody = self.records.count(Read::UnknownTarget);
        families.value(lost, &["exchange", "unknown_target"], of_nobody as f64);
        for loss in self.kernel.counts().lost()? {
            // What the kernel half gave up framing, and what the agent could not put together.
            let here = (loss.kind, loss.reason) == ("exchange", "unparsed");
            let unjoined = if here { self.records.count(Read::Unjoined) } else { 0 };
            families.value(lost, &[loss.kind, loss.reason], (loss.count + unjoined) as f64);
        }
        for (reason, connections) in self.kernel.counts().given_up()? {
            families.value(given_up, &[reason], connections as f64);
        }
        for (protocol, bytes) in self.kernel.counts().l7_bytes()? {
            families.value(l7_bytes, &[protocol], bytes as f64);
        }
        Ok(())
    }
}
