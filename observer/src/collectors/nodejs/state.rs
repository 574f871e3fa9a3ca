//! What the processes of each role came to. A process adds what it counted since the last look; when it has ended, that
//! stays, so that a worker that is restarted loses nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use observer_ebpf::{
    records::histogram::Gap,
    records::runtime::{Process, Thread, Totals},
};

use super::WORKER_THREADS;
use crate::{
    collectors::overflow::OTHER,
    targets::{Target, TargetId},
};

/// The role of a process that ended before it could be looked at.
const UNKNOWN: &str = "unknown";

/// The two roles of a process: its own, and that of its worker threads.
#[derive(Clone, Debug)]
struct Roles {
    main: Arc<str>,
    workers: Arc<str>,
}

#[derive(Debug)]
struct Seen {
    roles: Roles,
    counted: Process,
}

/// What is remembered between looks.
#[derive(Debug, Default)]
pub(super) struct State {
    processes: HashMap<u32, Seen>,
    /// What processes do that have started and were not counted since.
    started: HashMap<u32, String>,
    targets: HashMap<TargetId, BTreeMap<Arc<str>, Totals>>,
}

/// What goes up and down, by target and role: the longest turn that runs, and the heaps in use.
#[derive(Debug, Default)]
pub(super) struct Now(HashMap<(TargetId, Arc<str>), (u64, Option<u64>)>);

impl Now {
    pub(super) fn of(&self, target: TargetId, role: &str) -> (u64, Option<u64>) {
        self.0.get(&(target, Arc::from(role))).copied().unwrap_or_default()
    }
}

impl State {
    /// Drops what is kept of targets whose series are no longer shown, and of processes that have ended uncounted.
    pub(super) fn keep_only(&mut self, targets: &[Target], is_there: impl Fn(u32) -> bool) {
        self.targets.retain(|id, _| targets.iter().any(|target| target.id == *id));
        self.started.retain(|id, _| is_there(*id));
    }

    /// A process with this role has just started.
    pub(super) fn started(&mut self, id: u32, role: String) {
        self.started.insert(id, role);
    }

    /// The totals of a target's roles.
    pub(super) fn of_target(&self, target: TargetId) -> impl Iterator<Item = (&str, &Totals)> {
        self.targets.get(&target).into_iter().flatten().map(|(role, totals)| (role.as_ref(), totals))
    }

    /// Adds what a process has counted since the last look. `role` is what it does, `None` once it has ended.
    pub(super) fn count(
        &mut self,
        id: u32,
        process: &Process,
        role: Option<String>,
        max_roles: usize,
        overflow: impl FnOnce(),
    ) {
        let at_start = self.started.remove(&id);
        let before = self.processes.get(&id);
        let known = self.targets.entry(process.target).or_default();
        let roles = match (role, before) {
            (Some(role), Some(seen)) if *role == *seen.roles.main => seen.roles.clone(),
            (None, Some(seen)) => seen.roles.clone(),
            (role, _) => {
                let role = role.or(at_start).unwrap_or_else(|| UNKNOWN.to_owned());
                admit(known, role, max_roles, overflow)
            }
        };
        let empty = Process::EMPTY;
        let counted = before.map_or(&empty, |seen| &seen.counted);
        add(known.entry(Arc::clone(&roles.main)).or_insert(Totals::EMPTY), &process.main, &counted.main);
        // A process without workers has no role for them.
        if process.workers != counted.workers {
            let totals = known.entry(Arc::clone(&roles.workers)).or_insert(Totals::EMPTY);
            add(totals, &process.workers, &counted.workers);
        }
        self.processes.insert(id, Seen { roles, counted: *process });
    }

    /// A process has ended; what it counted stays in the totals of its roles.
    pub(super) fn forget(&mut self, id: u32) {
        self.processes.remove(&id);
    }

    /// Takes in what a thread does at this time.
    pub(super) fn see(&self, id: u64, thread: &Thread, clock: u64, now: &mut Now) {
        let (process, own) = (id >> 32, id & u64::from(u32::MAX));
        let seen = u32::try_from(process).ok().and_then(|process| self.processes.get(&process));
        let Some(seen) = seen else { return };
        let role = if own == process { &seen.roles.main } else { &seen.roles.workers };
        let (blocked, heap) = now.0.entry((thread.target, Arc::clone(role))).or_default();
        if thread.turn_ns != 0 {
            *blocked = (*blocked).max(clock.saturating_sub(thread.turn_ns));
        }
        if thread.heap_used != 0 {
            *heap.get_or_insert_default() += thread.heap_used;
        }
    }
}

/// The roles of a process, or [`OTHER`] where the target has no room for more.
fn admit(
    known: &BTreeMap<Arc<str>, Totals>,
    role: String,
    max_roles: usize,
    overflow: impl FnOnce(),
) -> Roles {
    let named = known.keys().filter(|role| !role.ends_with(WORKER_THREADS) && role.as_ref() != OTHER).count();
    let main = if known.contains_key(role.as_str()) || named < max_roles {
        role
    } else {
        overflow();
        OTHER.to_owned()
    };
    Roles { workers: format!("{main}{WORKER_THREADS}").into(), main: main.into() }
}

/// Adds what was counted between two looks.
fn add(totals: &mut Totals, now: &Totals, before: &Totals) {
    add_times(&mut totals.busy, &now.busy, &before.busy);
    for ((totals, now), before) in totals.pauses.iter_mut().zip(&now.pauses).zip(&before.pauses) {
        add_times(totals, now, before);
    }
}

fn add_times(totals: &mut Gap, now: &Gap, before: &Gap) {
    for ((total, now), before) in totals.buckets.iter_mut().zip(now.buckets).zip(before.buckets) {
        *total += now.saturating_sub(before);
    }
    totals.sum_ns += now.sum_ns.saturating_sub(before.sum_ns);
}
