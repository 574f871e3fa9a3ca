//! Loads the kernel half: sizes its maps, hands in offsets, and loads each program by the table.
//! A program that this kernel refuses is off with its reason; only a required one stops the agent.

use std::{
    collections::HashMap,
    fs,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    programs::{BtfTracePoint, CgroupSkb, Iter, ProgramError, SockOps, UProbe},
};
use rustix::process::setpriority_process;

use super::{
    btf::{Btf, Named},
    log, offsets,
    programs::{Hook, PROGRAMS, Program, ProgramState},
    uprobe_multi::UprobeMulti,
};

/// Where the kernel shows its own type information.
pub(super) const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// The kernel's iterator over a map of socket storage.
const STORAGE_ITERATOR: &str = "bpf_sk_storage_map";

/// The kernel half as `cargo xtask build` made it; empty in a build without.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/observer-ebpf.o"));

/// Threads that load programs.
const LOADERS: usize = 2;

/// How far those threads step back (`man 7 sched`, the nice value). On two saturated cores a start takes twice as long by it.
const NICE: i32 = 5;

/// Unread bytes of the ring of exchanges past which the agent is woken.
const WAKE_BYTES: u64 = 256 * 1024;

/// What is fixed when the kernel half is loaded, the sizes of its maps above all.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of the ring of records: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Bytes of the ring of HTTP exchanges: as `ring_bytes`.
    pub exchange_ring_bytes: u32,
    /// A pause between two events of a stream that is a stall when it is longer, in nanoseconds.
    pub stall_ns: u64,
    /// Outbound peers that are counted apart.
    pub peers: u32,
    /// Those of one target.
    pub peers_of_target: u32,
    /// Node.js processes that are counted.
    pub nodejs_processes: u32,
    /// Those of one target.
    pub nodejs_processes_of_target: u32,
    /// Connections whose HTTP is followed at once.
    pub followed_connections: u64,
    /// Whether the programs log what they do.
    pub log: bool,
}

/// Loads every program that this kernel takes.
pub(super) fn load(options: Options) -> anyhow::Result<(Ebpf, UprobeMulti, Vec<ProgramState>)> {
    if !is_built() {
        bail!("this observer was built without its kernel object; build it with `cargo xtask build`");
    }
    let log_level = if options.log { log::EVERYTHING } else { log::NOTHING };
    let process_share = u64::from(options.nodejs_processes_of_target);
    let peer_share = u64::from(options.peers_of_target);
    let (kernel_types, offsets);
    let mut loader = EbpfLoader::new();
    // Relocations alone need the kernel's type information, all of which it has read; there are none.
    loader.btf(None);
    (kernel_types, offsets) = read_kernel_types()?;
    loader
        .map_max_entries("RECORDS", options.ring_bytes)
        .map_max_entries("EXCHANGES", options.exchange_ring_bytes)
        .map_max_entries("PEERS", options.peers)
        .map_max_entries("PROCESSES", options.nodejs_processes)
        .override_global("PEER_SHARE", &peer_share, true)
        .override_global("PROCESS_SHARE", &process_share, true)
        .override_global("STALL_NS", &options.stall_ns, true)
        .override_global(log::LEVEL, &log_level, true);
    for offset in &offsets {
        loader.override_global(offset.global, &offset.value, true);
    }
    // A small ring is full before it holds as much as a large one may.
    let wake_bytes = WAKE_BYTES.min(u64::from(options.exchange_ring_bytes) / 4);
    loader.override_global("WAKE_BYTES", &wake_bytes, true);
    let mut ebpf = loader.load(OBJECT).context("cannot create the kernel half's maps")?;
    let uprobe_multi = UprobeMulti::load(OBJECT, &ebpf).unwrap_or_else(|error| {
        tracing::debug!(error = format!("{error:#}"), "Node.js is probed by perf events");
        UprobeMulti::default()
    });
    let states = load_programs(&mut ebpf, &kernel_types, &uprobe_multi)?;
    Ok((ebpf, uprobe_multi, states))
}

/// What the kernel's type information says of what programs attach to and of the members that they read.
fn read_kernel_types() -> anyhow::Result<(aya::Btf, Vec<offsets::Offset>)> {
    let data = fs::read(BTF_PATH).with_context(|| {
        format!("cannot read {BTF_PATH}; the kernel must be built with CONFIG_DEBUG_INFO_BTF")
    })?;
    let btf = Btf::parse(&data).context(BTF_PATH)?;
    let (offsets, missing) = offsets::resolve(&btf);
    if !missing.is_empty() {
        tracing::warn!(
            members = missing.join(", "),
            "this kernel has no such members; what needs them is off"
        );
    }
    // The names under which aya looks for them.
    let attached_to = PROGRAMS.iter().filter_map(|program| match program.hook {
        Hook::Tracepoint(name) => Some(Named::Typedef(format!("btf_trace_{name}"))),
        Hook::MapIterator(_) => Some(Named::Function(format!("bpf_iter_{STORAGE_ITERATOR}"))),
        _ => None,
    });
    let mut names: Vec<Named> = attached_to.collect();
    names.dedup();
    let excerpt = btf.excerpt(&names);
    Ok((aya::Btf::parse(&excerpt, aya::Endianness::default())?, offsets))
}

/// Whether the agent has its kernel half inside.
pub(super) fn is_built() -> bool {
    !OBJECT.is_empty()
}

fn load_programs(
    ebpf: &mut Ebpf,
    kernel_types: &aya::Btf,
    loaded: &UprobeMulti,
) -> anyhow::Result<Vec<ProgramState>> {
    let mut found: HashMap<String, &mut aya::programs::Program> =
        ebpf.programs_mut().map(|(name, program)| (name.to_owned(), program)).collect();
    let results = load_side_by_side(&mut found, kernel_types, loaded);
    let mut states = Vec::with_capacity(PROGRAMS.len());
    for (program, result) in PROGRAMS.iter().zip(results) {
        let reason = match result {
            Ok(()) => String::new(),
            Err(error) if program.required => {
                return Err(error)
                    .with_context(|| format!("this kernel refuses the program {}", program.name));
            }
            Err(error) => reason(&error),
        };
        states.push(ProgramState { name: program.name, attached: reason.is_empty(), reason });
    }
    Ok(states)
}

/// Loads all programs of the table; the results in its order.
///
/// The kernel verifies each program by itself, and two of them for long: side by side they take the time of one. More
/// threads would gain nothing, and would stand in the way of the applications that are to be observed: on two busy cores
/// a thread for each program kept them waiting for 10 ms and more (docs/faults.md).
fn load_side_by_side(
    found: &mut HashMap<String, &mut aya::programs::Program>,
    kernel_types: &aya::Btf,
    loaded: &UprobeMulti,
) -> Vec<anyhow::Result<()>> {
    let mut results: Vec<anyhow::Result<()>> =
        PROGRAMS.iter().map(|_| Err(anyhow!("loading it panicked; please report this"))).collect();
    // Those that take long are told by their hooks, and come first.
    let mut waiting: Vec<_> = PROGRAMS
        .iter()
        .zip(&mut results)
        .map(|(program, result)| (program, found.remove(program.name), result))
        .collect();
    waiting.sort_by_key(|(program, ..)| matches!(program.hook, Hook::CgroupIngress | Hook::CgroupEgress));
    let waiting = Mutex::new(waiting);
    let load_waiting = || {
        step_back();
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((program, found, result)) = next else { return };
            *result = match loaded.descriptor(program.name) {
                Some(_) => Ok(()),
                None => load_program(found, program, kernel_types),
            };
        }
    };
    thread::scope(|scope| {
        let loaders: Vec<_> = (0..LOADERS).map(|_| scope.spawn(load_waiting)).collect();
        for loader in loaders {
            // One that panicked leaves its program's result as it was.
            let _panicked = loader.join();
        }
    });
    results
}

/// Lets applications go before this thread.
fn step_back() {
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!(%error, "programs are loaded at the usual priority");
    }
}

fn load_program(
    found: Option<&mut aya::programs::Program>,
    program: &Program,
    kernel_types: &aya::Btf,
) -> anyhow::Result<()> {
    let loaded = found.context("the kernel object does not have it")?;
    match program.hook {
        Hook::CgroupIngress | Hook::CgroupEgress => <&mut CgroupSkb>::try_from(loaded)?.load()?,
        Hook::CgroupSockets => <&mut SockOps>::try_from(loaded)?.load()?,
        Hook::Tracepoint(name) => {
            let tracepoint = <&mut BtfTracePoint>::try_from(loaded)?;
            tracepoint.load(name, kernel_types)?;
            tracepoint.attach()?;
        }
        Hook::NodeJs(_) => <&mut UProbe>::try_from(loaded)?.load()?,
        Hook::MapIterator(_) => <&mut Iter>::try_from(loaded)?.load(STORAGE_ITERATOR, kernel_types)?,
    }
    Ok(())
}

/// One line that says why: the verifier's last words, else the system's.
pub(super) fn reason(error: &anyhow::Error) -> String {
    if let Some(ProgramError::LoadError { io_error, verifier_log }) = error.downcast_ref() {
        let log = verifier_log.to_string();
        return last_words(&log).map_or_else(|| io_error.to_string(), |line| format!("{io_error}: {line}"));
    }
    error.chain().last().map(ToString::to_string).unwrap_or_default()
}

/// The line of the verifier's log before its statistics (kernel/bpf/verifier.c, `print_verification_stats`).
fn last_words(log: &str) -> Option<&str> {
    let is_statistic = |line: &str| {
        ["verification time ", "stack depth ", "processed "]
            .iter()
            .any(|beginning| line.starts_with(beginning))
    };
    log.lines().rfind(|line| !line.is_empty() && !is_statistic(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_the_line_before_the_statistics() {
        let log = "Func#1 is safe\n53: (85) call bpf_sk_storage_get#107\nunknown func bpf_sk_storage_get#107\n\
            verification time 12 usec\nstack depth 0+0\nprocessed 54 insns (limit 1000000)\n\n";
        assert_eq!(last_words(log), Some("unknown func bpf_sk_storage_get#107"));
        assert_eq!(last_words("processed 0 insns\n"), None);
    }

    #[test]
    fn the_table_and_the_object_name_the_same_programs() {
        if !is_built() {
            // A plain `cargo test` has no kernel object; `cargo xtask test` builds it first.
            return;
        }
        let object = aya_obj::Object::parse(OBJECT).unwrap();
        let mut in_object: Vec<&str> = object.programs.keys().map(String::as_str).collect();
        let mut in_table: Vec<&str> = PROGRAMS.iter().map(|program| program.name).collect();
        in_object.sort_unstable();
        in_table.sort_unstable();
        assert_eq!(in_object, in_table);
    }
}
