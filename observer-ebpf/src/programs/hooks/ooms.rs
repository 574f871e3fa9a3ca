//! Processes of targets that the kernel killed for want of memory, counted as they end.
//! The kernel's own count goes with the cgroup, which a container runtime removes as soon as the first process has ended.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{HashMap, LruHashMap},
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};

use super::nodejs::innermost_target;
use crate::{
    count::add,
    offsets::{SIGNAL_OOM_MM, TASK_EXIT_CODE, TASK_SIGNAL, member},
};

const SIGKILL: u32 = 9;

/// The signal in an exit code; the bit above is that of a core dump.
const SIGNAL: u32 = 0x7f;

/// Kills by the target's cgroup; the agent makes the entries, and takes them out with the target.
#[btf_map]
static OOM_KILLS: HashMap<u64, u64, 8192> = HashMap::new();

/// Processes that were counted, by their memory's address and their number: each of their threads ends.
#[btf_map]
static OOM_VICTIMS: LruHashMap<[u64; 2], u32, 1024> = LruHashMap::new();

/// A thread ends, anywhere on the host.
/// `TP_PROTO(struct task_struct *p, …)`, include/trace/events/sched.h; `p` is the running thread.
#[btf_tracepoint(function = "sched_process_exit")]
fn oom_victim(ctx: BtfTracePointContext) -> i32 {
    count(&ctx);
    0
}

/// `signal_struct.oom_mm` is set when the kernel picks a process to free memory (`mark_oom_victim`, `mm/oom_kill.c`). It
/// also marks those that were ending anyway, which SIGKILL did not end and which it does not count itself.
#[inline(always)]
fn count(ctx: &BtfTracePointContext) -> Option<()> {
    let task: *const u8 = ctx.arg(0);
    // SAFETY: `task` is the tracepoint's typed argument, `signal` is read from it.
    let (memory, exit_code) = unsafe {
        let signal: *const u8 = member(task, &TASK_SIGNAL)?;
        (member::<u64>(signal, &SIGNAL_OOM_MM)?, member::<u32>(task, &TASK_EXIT_CODE)?)
    };
    if memory == 0 || exit_code & SIGNAL != SIGKILL {
        return None;
    }
    let (cgroup, _) = innermost_target()?;
    let process = bpf_get_current_pid_tgid() >> 32;
    OOM_VICTIMS.insert([memory, process], 0, BPF_NOEXIST.into()).ok()?;
    let kills = OOM_KILLS.get_ptr_mut(cgroup)?;
    // SAFETY: a value of the map.
    unsafe { add(kills, 1) };
    Some(())
}
