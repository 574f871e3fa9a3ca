//! The kernel half as the agent sees it: loaded once, attached to each target's cgroup, read at each scrape.
//! All unsafe code of the agent and all of its bpf(2) calls are in this module.

mod adopt;
mod btf;
mod counts;
mod exchanges;
mod exclusive;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod load;
mod log;
pub mod memory;
mod nodejs;
mod offsets;
mod ooms;
mod places;
pub mod probe;
mod programs;
mod records;
mod ring;
mod ring_loop;
mod shares;
mod sys;
mod uprobe_multi;
mod walk;

use std::{
    fs::{self, File},
    os::fd::{AsFd as _, AsRawFd as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{Array, CgroupStorageKey, Map, MapData, PerCpuArray, SkStorage},
    programs::{
        CgroupAttachMode, CgroupSkb, ProgramError, SockOps,
        cgroup_skb::{CgroupSkbAttachType, CgroupSkbLink},
        sock_ops::SockOpsLink,
    },
};
use observer_ebpf::flow::connection::Connection;

pub use self::{
    counts::{Counts, Lost, OpenTotals, PeerView, Peers},
    exchanges::{ExchangeRing, Record},
    load::Options,
    log::KernelLog,
    nodejs::{Runtimes, StartedProcesses},
    ooms::{Ended, Kills, OomKills},
    places::bytes_of_connection,
    programs::{Hook, PROGRAMS, Program, ProgramState},
    records::{Read, Records},
    ring::RingReader,
    uprobe_multi::is_supported as probes_by_links,
};
use self::{
    exclusive::Exclusive, nodejs::NodeJs, ooms::Ooms, places::Places, shares::Shares,
    uprobe_multi::UprobeMulti, walk::Walk,
};
use crate::{
    cgroup::{Cgroup, Hierarchy},
    targets::{Attacher, RefusedProgram, TargetId},
};

/// `enum bpf_attach_type` of the three programs of a target; with the cgroup's id it keys their storage.
mod attach_type {
    pub(super) const INGRESS: u32 = 0;
    pub(super) const EGRESS: u32 = 1;
    pub(super) const SOCK_OPS: u32 = 3;
}

/// Target numbers by cgroup and attach point.
#[expect(deprecated, reason = "its successor needs Linux 6.2 and does not know where a program is attached")]
type TargetNumbers = aya::maps::CgroupStorage<MapData, TargetId>;

/// The loaded kernel half.
pub struct Kernel {
    hierarchy: Hierarchy,
    programs: Mutex<Ebpf>,
    targets: Mutex<TargetNumbers>,
    connections: Mutex<SkStorage<MapData, Connection>>,
    uprobe_multi: UprobeMulti,
    states: Vec<ProgramState>,
    counts: Counts,
    nodejs: Arc<NodeJs>,
    ooms: Arc<Ooms>,
}

/// The loaded kernel half and what it sends on its own account.
pub struct Loaded {
    /// To attach with, and to read counts from.
    pub kernel: Kernel,
    /// Records, to be read for as long as it is loaded.
    pub ring: RingReader,
    /// HTTP exchanges, to be read likewise.
    pub exchanges: Arc<ExchangeRing>,
    /// Processes of targets that begin to run an executable.
    pub started: StartedProcesses,
    /// Its log, where [`Options::log`] asked for it.
    pub log: Option<KernelLog>,
}

/// What a program has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramRuns {
    /// Its name.
    pub name: &'static str,
    /// Time in it, on all CPUs.
    pub time: Duration,
    /// How often it ran.
    pub runs: u64,
}

/// The programs' links to one cgroup; dropping it detaches them.
pub struct Attachment {
    _sockets: SockOpsLink,
    _ingress: CgroupSkbLink,
    _egress: CgroupSkbLink,
    _processes: TargetProcesses,
}

/// Has Node.js processes and kills of a cgroup counted for its target until it is dropped.
struct TargetProcesses {
    nodejs: Arc<NodeJs>,
    ooms: Arc<Ooms>,
    cgroup: u64,
    target: TargetId,
}

impl Drop for TargetProcesses {
    fn drop(&mut self) {
        self.nodejs.remove_target(self.cgroup);
        self.ooms.remove(self.cgroup, self.target);
    }
}

impl Kernel {
    /// Loads the kernel half, which observes nothing until the first [`Kernel::attach`].
    pub fn load(options: Options, hierarchy: Hierarchy) -> anyhow::Result<Loaded> {
        let (mut ebpf, uprobe_multi, mut states) = load::load(options)?;
        let connections = take(&mut ebpf, "CONNECTIONS")?;
        let Map::SkStorage(connections) = connections else {
            anyhow::bail!("the map CONNECTIONS of the kernel object is no socket storage");
        };
        let Map::SkStorage(http) = take(&mut ebpf, "HTTP")? else {
            anyhow::bail!("the map HTTP of the kernel object is no socket storage");
        };
        let walks = [
            Walk::attach(&mut ebpf, "socket_walk", &connections, &mut states),
            Walk::attach(&mut ebpf, "exchange_walk", &http, &mut states),
        ];
        let totals = [take_hash_map(&mut ebpf, "PEERS")?, take_hash_map(&mut ebpf, "SHARED")?];
        let cells = [
            PerCpuArray::try_from(take(&mut ebpf, "L7_BYTES")?)?,
            PerCpuArray::try_from(take(&mut ebpf, "LOST")?)?,
            PerCpuArray::try_from(take(&mut ebpf, "GIVEN_UP")?)?,
        ];
        let places = Places::new(Array::try_from(take(&mut ebpf, "ROOM")?)?, options.followed_connections)?;
        let shares = Shares::new(&mut ebpf, "PEER_SHARES")?;
        let counts =
            Counts::new(totals, shares, [options.peers, options.peers_of_target], walks, places, cells);
        let ring = RingReader::new(take(&mut ebpf, "RECORDS")?)?;
        let exchanges = ExchangeRing::new(take(&mut ebpf, "EXCHANGES")?, ring.records())?;
        let nodejs = Arc::new(NodeJs::new(&mut ebpf)?);
        let ooms = Arc::new(Ooms::new(&mut ebpf)?);
        let started = StartedProcesses::new(&mut ebpf)?;
        let log = options.log.then(|| KernelLog::new(&mut ebpf)).transpose()?;
        let kernel = Self {
            hierarchy,
            targets: Mutex::new(TargetNumbers::try_from(take(&mut ebpf, "TARGETS")?)?),
            connections: Mutex::new(SkStorage::try_from(Map::SkStorage(connections))?),
            programs: Mutex::new(ebpf),
            uprobe_multi,
            states,
            counts,
            nodejs,
            ooms,
        };
        memory::give_back();
        Ok(Loaded { kernel, ring, exchanges: Arc::new(exchanges), started, log })
    }

    /// What became of each program at loading.
    pub fn program_states(&self) -> &[ProgramState] {
        &self.states
    }

    /// The counts that the kernel half keeps.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Run time and runs of each loaded program, which the kernel counts while `kernel.bpf_stats_enabled` is 1.
    pub fn program_runs(&self) -> Vec<ProgramRuns> {
        let programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = PROGRAMS.iter().filter_map(|program| {
            let descriptor = match self.uprobe_multi.descriptor(program.name) {
                Some(descriptor) => descriptor,
                None => programs.program(program.name)?.fd().ok()?.as_fd(),
            };
            let descriptor = descriptor.as_raw_fd();
            // The kernel shows both in the descriptor's entry (kernel/bpf/syscall.c, bpf_prog_show_fdinfo).
            let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
            let number =
                |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
            let time = Duration::from_nanos(number("run_time_ns:")?);
            Some(ProgramRuns { name: program.name, time, runs: number("run_cnt:")? })
        });
        runs.collect()
    }

    /// New connections first: those that open while the rest is attached are then counted as new.
    fn link(&self, target: TargetId, cgroup: &Cgroup) -> anyhow::Result<Attachment> {
        let path = self.hierarchy.directory(&cgroup.path).context("the cgroup is gone")?;
        let directory = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        exclusive::require_none(&path, self.hierarchy.mount_point())?;
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let sock_ops: &mut SockOps = program(&mut programs, "socket_events")?;
        let id = sock_ops
            .attach(&directory, CgroupAttachMode::Single)
            .with_context(|| cannot_attach("socket_events", cgroup))?;
        let sockets = sock_ops.take_link(id)?;
        self.name_target(cgroup.id, attach_type::SOCK_OPS, target)?;

        let mut packets = |name, attach_type| -> anyhow::Result<CgroupSkbLink> {
            let program: &mut CgroupSkb = program(&mut programs, name)?;
            let id = program
                .attach(&directory, attach_type, CgroupAttachMode::Single)
                .with_context(|| cannot_attach(name, cgroup))?;
            Ok(program.take_link(id)?)
        };
        let egress = packets("packet_egress", CgroupSkbAttachType::Egress)?;
        self.name_target(cgroup.id, attach_type::EGRESS, target)?;
        let ingress = packets("packet_ingress", CgroupSkbAttachType::Ingress)?;
        self.name_target(cgroup.id, attach_type::INGRESS, target)?;
        let (nodejs, ooms) = (Arc::clone(&self.nodejs), Arc::clone(&self.ooms));
        let processes = TargetProcesses { nodejs, ooms, cgroup: cgroup.id, target };
        self.ooms.add(cgroup.id)?;
        self.nodejs.add_target(cgroup.id, target, &self.hierarchy.processes(&cgroup.path))?;
        Ok(Attachment { _sockets: sockets, _ingress: ingress, _egress: egress, _processes: processes })
    }

    /// Tells one program of a cgroup which target it runs for.
    fn name_target(&self, cgroup: u64, attach_type: u32, target: TargetId) -> anyhow::Result<()> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets
            .insert(CgroupStorageKey::new(cgroup, attach_type), target, 0)
            .with_context(|| format!("cannot write the storage of the cgroup with the id {cgroup}"))
    }
}

impl Attacher for Kernel {
    type Attachment = Attachment;

    fn attach(&self, target: TargetId, cgroup: &Cgroup) -> anyhow::Result<Attachment> {
        let attachment = self.link(target, cgroup)?;
        let processes = self.hierarchy.processes(&cgroup.path);
        let mut storage = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        self.counts.add_adopted(adopt::adopt(&mut storage, target, &processes));
        Ok(attachment)
    }

    fn refused(&self, error: &anyhow::Error) -> Option<RefusedProgram> {
        error.downcast_ref::<Exclusive>().map(Exclusive::refused)
    }

    fn forget(&self, target: TargetId) {
        self.ooms.forget(target);
        if let Err(error) = self.counts.forget(target) {
            tracing::warn!(
                target,
                error = format!("{error:#}"),
                "the counts of a target that has gone stay in memory"
            );
        }
    }
}

/// Now on the clock that the kernel half stamps with, in nanoseconds.
pub fn now_ns() -> u64 {
    sys::monotonic_ns()
}

fn cannot_attach(program: &str, cgroup: &Cgroup) -> String {
    format!("cannot attach {program} to the cgroup {}", cgroup.path.display())
}

/// A loaded program as what it is.
fn program<'a, P>(programs: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program =
        programs.program_mut(name).with_context(|| format!("the kernel object has no program {name}"))?;
    Ok(program.try_into()?)
}

fn take(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<Map> {
    ebpf.take_map(name).with_context(|| format!("the kernel object has no map {name}"))
}

fn take_hash_map(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<MapData> {
    let Map::HashMap(map) = take(ebpf, name)? else {
        anyhow::bail!("the map {name} of the kernel object is no hash map");
    };
    Ok(map)
}
