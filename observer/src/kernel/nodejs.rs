//! The kernel half's part of Node.js: puts its programs at places in executables, and reads what they counted.
//! A probe is put into a file, by its offset; the kernel keeps it in every process that maps the file.

use std::{
    collections::BTreeMap,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{HashMap, MapData, RingBuf},
    programs::{
        UProbe,
        uprobe::{UProbeLink, UProbeScope},
    },
};
use observer_ebpf::records::runtime::{Process, Thread};
use tokio::sync::mpsc;

use super::{Kernel, load, program, ring_loop, shares::Shares, sys, take, take_hash_map};
use crate::{
    nodejs::{Point, Probe},
    probing::Probes,
    targets::TargetId,
};

/// Entries that one look-up of a map asks for.
const BATCH: u32 = 64;

/// The maps of the programs that run in Node.js.
pub(super) struct NodeJs {
    targets: Mutex<HashMap<MapData, u64, TargetId>>,
    threads: MapData,
    processes: MapData,
    shares: Shares,
}

impl NodeJs {
    pub(super) fn new(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        Ok(Self {
            targets: Mutex::new(HashMap::try_from(take(ebpf, "CGROUP_TARGETS")?)?),
            threads: take_hash_map(ebpf, "THREADS")?,
            processes: take_hash_map(ebpf, "PROCESSES")?,
            shares: Shares::new(ebpf, "PROCESS_SHARES")?,
        })
    }

    /// From now on, threads in this cgroup and below belong to the target; `processes` are those that are there.
    pub(super) fn add_target(&self, cgroup: u64, target: TargetId, processes: &[u32]) -> anyhow::Result<()> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.insert(cgroup, target, 0).context("cannot write the map of the targets' cgroups")?;
        // What was told of a thread before holds no more; its next probe tells it anew.
        let threads = sys::map_descriptor(&self.threads);
        let known: Vec<(u64, Thread)> =
            sys::look_up_all(threads, BATCH).context("cannot read the map of Node.js threads")?;
        for (id, thread) in known {
            if thread.target != target && processes.iter().any(|process| u64::from(*process) == id >> 32) {
                sys::delete_element(threads, &id).context("cannot delete from the map of Node.js threads")?;
            }
        }
        Ok(())
    }

    pub(super) fn remove_target(&self, cgroup: u64) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        // It is gone when it was never there, which is what is wanted.
        targets.remove(&cgroup).ok();
    }
}

/// Tells of processes of targets that begin to run an executable.
pub struct StartedProcesses(RingBuf<MapData>);

impl StartedProcesses {
    pub(super) fn new(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        Ok(Self(RingBuf::try_from(take(ebpf, "STARTED")?)?))
    }

    /// Sends process ids until whoever listens is gone. One that does not fit is left to the next look.
    pub async fn run(self, started: mpsc::Sender<u32>) -> anyhow::Result<()> {
        let drain = |ring: &mut RingBuf<MapData>| {
            while let Some(record) = ring.next() {
                if let Some(process) = record.first_chunk() {
                    started.try_send(u32::from_ne_bytes(*process)).ok();
                }
            }
        };
        ring_loop::read(self.0, "the ring of started processes", None, started.closed(), drain).await
    }
}

/// A probe in an executable; it is taken away when this is dropped.
pub enum ProbeLink {
    /// By a link of the executable's own.
    Multi(OwnedFd),
    /// By a perf event, on kernels before 6.6.
    Perf(UProbeLink),
}

impl Probes for Kernel {
    type Links = Vec<ProbeLink>;

    fn probe(&self, file: BorrowedFd<'_>, points: &[Point]) -> (Self::Links, Vec<(Probe, String)>) {
        // The kernel takes paths only. This one leads to the file that was read, whatever has become of its own path.
        let file = &PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attach = |point: &Point| -> anyhow::Result<ProbeLink> {
            let name = point.probe.program();
            if let Some(link) = self.uprobe_multi.attach(name, file, point.offset) {
                return Ok(ProbeLink::Multi(link?));
            }
            let uprobe: &mut UProbe = program(&mut programs, name)?;
            let id = uprobe.attach(point.offset, file, UProbeScope::AllProcesses)?;
            Ok(ProbeLink::Perf(uprobe.take_link(id)?))
        };
        let mut links = Vec::with_capacity(points.len());
        let mut refused = Vec::new();
        for point in points {
            match attach(point) {
                Ok(link) => links.push(link),
                Err(error) => refused.push((point.probe, load::reason(&error))),
            }
        }
        (links, refused)
    }
}

/// What the kernel half has counted of Node.js.
pub trait Runtimes: Send + Sync {
    /// Counts of each process, by its id.
    fn processes(&self) -> anyhow::Result<Vec<(u32, Process)>>;
    /// What each thread does now, by process id and thread id in one number.
    fn threads(&self) -> anyhow::Result<Vec<(u64, Thread)>>;
    /// Drops the counts of a process that has ended.
    fn forget(&self, process: u32) -> anyhow::Result<()>;
    /// Says how many processes of each target there are among those that are counted.
    fn settle_shares(&self, processes: &BTreeMap<TargetId, u64>) -> anyhow::Result<()>;
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

    fn settle_shares(&self, processes: &BTreeMap<TargetId, u64>) -> anyhow::Result<()> {
        (**self).settle_shares(processes)
    }

    fn now_ns(&self) -> u64 {
        (**self).now_ns()
    }
}

impl Runtimes for Kernel {
    fn processes(&self) -> anyhow::Result<Vec<(u32, Process)>> {
        sys::look_up_all(sys::map_descriptor(&self.nodejs.processes), BATCH)
            .context("cannot read the map of Node.js processes")
    }

    fn threads(&self) -> anyhow::Result<Vec<(u64, Thread)>> {
        sys::look_up_all(sys::map_descriptor(&self.nodejs.threads), BATCH)
            .context("cannot read the map of Node.js threads")
    }

    fn forget(&self, process: u32) -> anyhow::Result<()> {
        sys::delete_element(sys::map_descriptor(&self.nodejs.processes), &process)
            .context("cannot delete from the map of Node.js processes")
    }

    fn settle_shares(&self, processes: &BTreeMap<TargetId, u64>) -> anyhow::Result<()> {
        self.nodejs.shares.settle(processes)
    }

    fn now_ns(&self) -> u64 {
        sys::monotonic_ns()
    }
}
