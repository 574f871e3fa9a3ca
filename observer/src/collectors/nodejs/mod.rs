//! Node.js from outside: how long turns of its event loops run, pauses for garbage collection, the heap after them.
//! Summed by the role of the process, and apart from it for its worker threads.

mod names;
mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use observer_ebpf::{
    records::histogram::Gap,
    records::runtime::{PAUSES, Process, Totals},
};

use self::{
    names::Names,
    state::{Now, State},
};
use super::{
    Collector, Families, Kind, Metric,
    metric::{GAP, HistogramValue},
    overflow::LabelOverflow,
    process::Named,
};
use crate::{
    kernel::Runtimes,
    reading::Readers,
    targets::{Target, TargetId, TargetList},
};

pub(crate) static METRICS: [Metric; 4] = [
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
    )
    .highest(),
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

/// Processes that each target may have counted, however many targets there are.
const LEAST_SHARE: u32 = 8;

/// How many of `capacity` processes one target may have at most: half, and no such small a part that it would be of no use.
pub fn most_of_target(capacity: u32) -> u32 {
    (capacity / 2).max(capacity.min(LEAST_SHARE))
}

/// What bounds the collector, and who reads for it.
#[derive(Clone)]
pub struct Settings {
    /// Names of processes per target.
    pub max_roles: usize,
    /// Processes that the kernel half has room for, over all targets.
    pub capacity: u32,
    /// Read the arguments of processes.
    pub readers: Readers,
}

/// The section "Runtime" of the metrics. Clones share what they have counted.
#[derive(Clone)]
pub struct NodeJsCollector {
    targets: Arc<dyn TargetList>,
    runtimes: Arc<dyn Runtimes>,
    proc_root: PathBuf,
    overflow: LabelOverflow,
    settings: Settings,
    state: Arc<Mutex<(State, Names)>>,
}

impl NodeJsCollector {
    /// Names processes by what is below `proc_root`.
    pub fn new(
        targets: Arc<dyn TargetList>,
        runtimes: Arc<dyn Runtimes>,
        proc_root: PathBuf,
        overflow: LabelOverflow,
        settings: Settings,
    ) -> Self {
        let [busy, ..] = &METRICS;
        overflow.declare(busy, "process");
        Self { targets, runtimes, proc_root, overflow, settings, state: Arc::default() }
    }

    /// Takes note of what a process of a target does that has just started: it may end before it is looked at.
    pub fn started(&self, target: TargetId, process: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, names) = &mut *state;
        if let Some(role) = names.role(&self.proc_root, &self.settings.readers, target, process) {
            state.started(process, role);
        }
    }

    /// Takes in what was counted, and lets go of processes that have ended.
    pub fn take_in(&self) -> anyhow::Result<()> {
        self.update(&self.targets.targets(), &mut Now::default())
    }

    /// Processes that are no longer counted so that there is room for others: those of a target beyond its share, the
    /// newest first, once little room is left.
    fn too_many(&self, known: &[(u32, Process)]) -> HashSet<u32> {
        let capacity = self.settings.capacity;
        let most = most_of_target(capacity) as usize;
        let mut by_target: HashMap<TargetId, Vec<u32>> = HashMap::new();
        for (id, process) in known {
            by_target.entry(process.target).or_default().push(*id);
        }
        for (target, ids) in &by_target {
            // The kernel half takes no more of it.
            if ids.len() >= most && capacity > LEAST_SHARE {
                self.settings.readers.over_budget().note(*target, "nodejs");
            }
        }
        if known.len() <= capacity as usize / 4 * 3 {
            return HashSet::new();
        }
        // One that is alone may have half of it; and no share is so small that it would be of no use.
        let share = (capacity as usize / (by_target.len() + 1)).max(capacity.min(LEAST_SHARE) as usize);
        let mut too_many = HashSet::new();
        for (target, mut ids) in by_target {
            if ids.len() > share {
                ids.sort_unstable();
                too_many.extend(ids.drain(share..));
                self.settings.readers.over_budget().note(target, "nodejs");
            }
        }
        too_many
    }

    /// Brings the totals up to date; `now` gets what goes up and down.
    fn update(&self, targets: &[Target], now: &mut Now) -> anyhow::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, names) = &mut *state;
        // Told before the counts are read, so that those of a process that ends between are complete the next time.
        let known = self.runtimes.processes()?;
        let ids: HashSet<u32> = known.iter().map(|(id, _)| *id).collect();
        let is_there = |id: u32| ids.contains(&id) || self.proc_root.join(id.to_string()).exists();
        names.keep_only(is_there);
        state.keep_only(targets, is_there);
        let readers = &self.settings.readers;
        let roles: Vec<Option<String>> = known
            .iter()
            .map(|(id, process)| names.role(&self.proc_root, readers, process.target, *id))
            .collect();
        let processes: HashMap<u32, Process> = self.runtimes.processes()?.into_iter().collect();
        let too_many = self.too_many(&known);
        for ((id, _), role) in known.iter().zip(roles) {
            let Some(process) = processes.get(id) else { continue };
            let ended = role.is_none();
            state.count(*id, process, role, self.settings.max_roles, || {
                let [busy, ..] = &METRICS;
                self.overflow.record(busy, "process");
            });
            if ended || too_many.contains(id) {
                // The kernel half counts a thread only in the process that it was first seen in: one that is dropped while
                // it lives stays so.
                self.runtimes.forget(*id)?;
                state.forget(*id);
            }
        }
        let mut shares: BTreeMap<TargetId, u64> = BTreeMap::new();
        for (_, process) in self.runtimes.processes()? {
            *shares.entry(process.target).or_default() += 1;
        }
        self.runtimes.settle_shares(&shares)?;
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
        let (state, _) = &*state;
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
