//! Node.js from outside: how long turns of its event loops run, pauses for garbage collection, the heap after them.
//! Summed by the role of the process, and apart from it for its worker threads.

mod state;
#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use observer_ebpf::{
    records::histogram::Gap,
    records::runtime::{PAUSES, Process, Thread, Totals},
};

use self::state::{Now, State};
use super::{
    Collector, Families, Kind, Metric,
    metric::{GAP, HistogramValue},
    overflow::LabelOverflow,
    process::role_of,
};
use crate::targets::{Target, TargetList};

pub(super) static METRICS: [Metric; 4] = [
    Metric::of_target(
        "nodejs_eventloop_busy_seconds",
        Kind::Histogram(GAP),
        &["process"],
        "Time that one turn of an event loop ran before it waited for events again.",
    ),
    Metric::of_target(
        "nodejs_eventloop_blocked_seconds",
        Kind::Gauge,
        &["process"],
        "How long the turn of an event loop that now runs has run; of several loops, the longest.",
    ),
    Metric::of_target(
        "nodejs_gc_duration_seconds",
        Kind::Histogram(GAP),
        &["process", "kind"],
        "Pauses for garbage collection, by V8's kind of collection.",
    ),
    Metric::of_target(
        "nodejs_heap_used_bytes",
        Kind::Gauge,
        &["process"],
        "Bytes in use on V8's heaps, as of the last collection.",
    ),
];

/// Stands behind the role of a process for its worker threads, which have event loops and heaps of their own.
const WORKER_THREADS: &str = " worker_threads";

/// What the kernel half has counted of Node.js.
pub trait Runtimes: Send + Sync {
    /// Counts of each process, by its id.
    fn processes(&self) -> anyhow::Result<Vec<(u32, Process)>>;
    /// What each thread does now, by process id and thread id in one number.
    fn threads(&self) -> anyhow::Result<Vec<(u64, Thread)>>;
    /// Drops the counts of a process that has ended.
    fn forget(&self, process: u32) -> anyhow::Result<()>;
    /// Now, on the clock of the kernel half.
    fn now_ns(&self) -> u64;
}

impl<R: Runtimes> Runtimes for Arc<R> {
    fn processes(&self) -> anyhow::Result<Vec<(u32, Process)>> {
        (**self).processes()
    }

    fn threads(&self) -> anyhow::Result<Vec<(u64, Thread)>> {
        (**self).threads()
    }

    fn forget(&self, process: u32) -> anyhow::Result<()> {
        (**self).forget(process)
    }

    fn now_ns(&self) -> u64 {
        (**self).now_ns()
    }
}

/// The section "Runtime" of the metrics. Clones share what they have counted.
#[derive(Clone)]
pub struct NodeJsCollector {
    targets: Arc<dyn TargetList>,
    runtimes: Arc<dyn Runtimes>,
    proc_root: PathBuf,
    overflow: LabelOverflow,
    max_roles: usize,
    state: Arc<Mutex<State>>,
}

impl NodeJsCollector {
    /// Names processes by what is below `proc_root`, with at most `max_roles` names per target.
    pub fn new(
        targets: Arc<dyn TargetList>,
        runtimes: Arc<dyn Runtimes>,
        proc_root: PathBuf,
        overflow: LabelOverflow,
        max_roles: usize,
    ) -> Self {
        let [busy, ..] = &METRICS;
        overflow.declare(busy, "process");
        Self { targets, runtimes, proc_root, overflow, max_roles, state: Arc::default() }
    }

    /// Takes note of what a process does that has just started: it may end before it is looked at.
    pub fn started(&self, process: u32) {
        if let Some(role) = role_of(&self.proc_root, process) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.started(process, role);
        }
    }

    /// Takes in what was counted, and lets go of processes that have ended.
    pub fn take_in(&self) -> anyhow::Result<()> {
        self.update(&self.targets.targets(), &mut Now::default())
    }

    /// Brings the totals up to date; `now` gets what goes up and down.
    fn update(&self, targets: &[Target], now: &mut Now) -> anyhow::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Told before the counts are read, so that those of a process that ends between are complete the next time.
        let known = self.runtimes.processes()?;
        let roles: Vec<Option<String>> = known.iter().map(|(id, _)| role_of(&self.proc_root, *id)).collect();
        let is_known = |id: u32| known.iter().any(|(other, _)| *other == id);
        state.keep_only(targets, |id| is_known(id) || self.proc_root.join(id.to_string()).exists());
        let processes = self.runtimes.processes()?;
        for ((id, _), role) in known.iter().zip(roles) {
            let Some((_, process)) = processes.iter().find(|(other, _)| other == id) else { continue };
            let ended = role.is_none();
            state.count(*id, process, role, self.max_roles, || {
                let [busy, ..] = &METRICS;
                self.overflow.record(busy, "process");
            });
            if ended {
                self.runtimes.forget(*id)?;
                state.forget(*id);
            }
        }
        let clock = self.runtimes.now_ns();
        for (id, thread) in self.runtimes.threads()? {
            state.see(id, &thread, clock, now);
        }
        Ok(())
    }
}

impl Collector for NodeJsCollector {
    fn name(&self) -> &'static str {
        "nodejs"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn collect(&self, families: &mut Families) -> anyhow::Result<()> {
        let targets = self.targets.targets();
        let mut now = Now::default();
        self.update(&targets, &mut now)?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for target in targets.iter() {
            for (role, totals) in state.of_target(target.id) {
                let labels = [target.labels.container.as_str(), target.labels.app.as_str(), role];
                let (blocked_ns, heap) = now.of(target.id, role);
                write(families, labels, totals, blocked_ns, heap);
            }
        }
        Ok(())
    }
}

/// Writes the series of one role; kinds of pauses that never were are absent.
fn write(
    families: &mut Families,
    labels: [&str; 3],
    totals: &Totals,
    blocked_ns: u64,
    heap_used: Option<u64>,
) {
    let [busy, blocked, pauses, heap] = &METRICS;
    families.histogram(busy, &labels, &seconds(&totals.busy));
    families.value(blocked, &labels, blocked_ns as f64 / 1e9);
    if let Some(used) = heap_used {
        families.value(heap, &labels, used as f64);
    }
    let [container, app, role] = labels;
    for (kind, times) in PAUSES.iter().zip(&totals.pauses) {
        if times.buckets.iter().any(|count| *count > 0) {
            families.histogram(pauses, &[container, app, role, kind], &seconds(times));
        }
    }
}

fn seconds(times: &Gap) -> HistogramValue {
    HistogramValue { buckets: times.buckets.to_vec(), sum: times.sum_ns as f64 / 1e9 }
}
