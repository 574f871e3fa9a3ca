//! Node.js from outside: each turn of an event loop, each pause for garbage collection, the heap after it.
//! The programs run where the agent found V8's and libuv's functions in the executable, so other processes pay nothing.

use core::hint::black_box;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{HashMap, RingBuf},
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_get_current_ancestor_cgroup_id},
    macros::{btf_map, btf_tracepoint, uprobe, uretprobe},
    programs::{BtfTracePointContext, ProbeContext, RetProbeContext},
};
use observer_ebpf::records::{
    histogram::{GAP_NS, Gap},
    loss::{Kind, Reason},
    runtime::{PAUSES, Pause, Process, Thread, Totals},
};

use crate::{output::lost, peers::observe, shares};

/// Levels of the cgroup hierarchy that are looked through for a target.
const DEEPEST: i32 = 16;

/// The targets' cgroups by their ids; a process in any descendant belongs to the target.
#[btf_map]
static CGROUP_TARGETS: HashMap<u64, u32, 8192> = HashMap::new();

/// Threads that have come by a probe, by `pid_tgid`; those of no target too, so that they are told at once.
/// Preallocated, as programs of this type need it on kernels before 6.1.
#[btf_map]
static THREADS: HashMap<u64, Thread, 16_384> = HashMap::new();

/// Processes of targets, by their process id; the agent takes them out when they have ended. Sized by the agent
/// (`limits.nodejs_processes`).
#[btf_map]
static PROCESSES: HashMap<u32, Process, 1024> = HashMap::new();

/// Processes of targets that have just begun to run an executable. Whoever is not told of one finds it at the next look.
#[btf_map]
static STARTED: RingBuf<u32, 65_536> = RingBuf::new();

/// Too large for a program's stack of 512 bytes.
static EMPTY: Process = Process::EMPTY;

/// The loop is about to wait for events, by `epoll_wait` or `epoll_pwait`: with a timeout of zero first, always
/// (`UV_METRICS_IDLE_TIME`, which Node.js sets on each of its loops), and if there were none, with its own. So the first
/// ends a turn, and the second goes on with the same wait.
#[uprobe]
fn nodejs_wait(ctx: ProbeContext) -> u32 {
    wait(&ctx);
    0
}

#[inline(always)]
fn wait(ctx: &ProbeContext) -> Option<()> {
    let id = bpf_get_current_pid_tgid();
    let thread = THREADS.get_ptr_mut(id)?;
    // SAFETY: a value of the map, which only this thread writes.
    let began = unsafe { (*thread).turn_ns };
    if began == 0 {
        return None;
    }
    // SAFETY: as above.
    unsafe { (*thread).turn_ns = 0 };
    let timeout: i32 = ctx.arg(3)?;
    if timeout != 0 {
        return None;
    }
    // SAFETY: reads the clock.
    let now = unsafe { bpf_ktime_get_ns() };
    let totals = totals(id)?;
    // SAFETY: a histogram of a map's value.
    unsafe { observe(&raw mut (*totals).busy, &GAP_NS, now - began) };
    Some(())
}

/// The loop has waited: a turn begins.
#[uprobe]
fn nodejs_turn(_ctx: ProbeContext) -> u32 {
    if let Some(thread) = thread() {
        // SAFETY: reads the clock; a value of the map, which only this thread writes.
        unsafe { (*thread).turn_ns = bpf_ktime_get_ns() };
    }
    0
}

/// `Heap::CallGCPrologueCallbacks(GCType, …)`, before a pause of any kind: what `PerformanceObserver` measures from.
#[uprobe]
fn nodejs_pause_begin(ctx: ProbeContext) -> u32 {
    if let Some(kind) = kind(&ctx) {
        begin(kind);
    }
    0
}

/// `Heap::CallGCEpilogueCallbacks(GCType, …)`, after it.
#[uprobe]
fn nodejs_pause_end(ctx: ProbeContext) -> u32 {
    if let Some(kind) = kind(&ctx) {
        end(kind);
    }
    0
}

/// A pause's kind from `GCType`, which has one bit set (include/v8-callbacks.h).
#[inline(always)]
fn kind(ctx: &ProbeContext) -> Option<u32> {
    match ctx.arg::<u32>(1)? {
        1 => Some(Pause::Scavenge as u32),
        2 => Some(Pause::MinorMarkCompact as u32),
        4 => Some(Pause::MarkCompact as u32),
        8 => Some(Pause::Incremental as u32),
        16 => Some(Pause::WeakCallbacks as u32),
        _ => None,
    }
}

/// `Heap::PerformGarbageCollection(GarbageCollector, …)` begins, in a version whose compiler copied the callbacks' calls
/// into it. The collectors are numbered `SCAVENGER`, `MARK_COMPACTOR`, `MINOR_MARK_COMPACTOR` (src/common/globals.h).
#[uprobe]
fn nodejs_gc_begin(ctx: ProbeContext) -> u32 {
    let kind = match ctx.arg::<u32>(1) {
        Some(0) => Pause::Scavenge,
        Some(1) => Pause::MarkCompact,
        Some(2) => Pause::MinorMarkCompact,
        _ => return 0,
    };
    // A collection inside of another's last callbacks takes its place, as it does in what Node.js tells.
    if let Some(thread) = thread() {
        // SAFETY: a value of the map, which only this thread writes.
        unsafe {
            (*thread).pause_ns[Pause::Scavenge as usize] = 0;
            (*thread).pause_ns[Pause::MinorMarkCompact as usize] = 0;
            (*thread).pause_ns[Pause::MarkCompact as usize] = 0;
            (*thread).kind = kind as u32;
        }
        begin(kind as u32);
    }
    0
}

/// `GlobalHandles::PostGarbageCollectionProcessing` returns, the last step of a collection in these versions.
#[uretprobe]
fn nodejs_gc_end(_ctx: RetProbeContext) -> u32 {
    if let Some(thread) = THREADS.get_ptr(bpf_get_current_pid_tgid()) {
        // SAFETY: a value of the map, which only this thread writes.
        end(unsafe { (*thread).kind });
    }
    0
}

/// `Heap::InvokeIncrementalMarkingPrologueCallbacks`, before a step of marking, in the same versions.
#[uprobe]
fn nodejs_mark_begin(_ctx: ProbeContext) -> u32 {
    begin(Pause::Incremental as u32);
    0
}

/// `Heap::InvokeIncrementalMarkingEpilogueCallbacks`, after it.
#[uprobe]
fn nodejs_mark_end(_ctx: ProbeContext) -> u32 {
    end(Pause::Incremental as u32);
    0
}

/// `Heap::SizeOfObjects` returns the bytes in use: V8 asks at the begin and the end of each collection.
#[uretprobe]
fn nodejs_heap(ctx: RetProbeContext) -> u32 {
    if let (Some(thread), used) = (thread(), ctx.ret::<u64>()) {
        // SAFETY: a value of the map, which only this thread writes.
        unsafe { (*thread).heap_used = used };
    }
    0
}

/// A thread ends, anywhere on the host: its id may be used again.
/// `TP_PROTO(struct task_struct *p, …)`, include/trace/events/sched.h; `p` is the running thread.
#[btf_tracepoint(function = "sched_process_exit")]
fn thread_ended(_ctx: BtfTracePointContext) -> i32 {
    let id = bpf_get_current_pid_tgid();
    if THREADS.get_ptr(id).is_some() {
        let _gone = THREADS.remove(id);
    }
    0
}

/// A process begins to run an executable, anywhere on the host.
#[btf_tracepoint(function = "sched_process_exec")]
fn process_started(_ctx: BtfTracePointContext) -> i32 {
    if target() != 0 {
        let process = (bpf_get_current_pid_tgid() >> 32) as u32;
        let _full = STARTED.output(process, 0);
    }
    0
}

/// Of two places that tell of the same begin, the first counts.
#[inline(always)]
fn begin(kind: u32) -> Option<()> {
    let thread = thread()?;
    // SAFETY: a value of the map, which only this thread writes; the index is inside.
    let began = unsafe { pause(thread, kind) };
    // SAFETY: as above; reads the clock.
    unsafe {
        if *began == 0 {
            *began = bpf_ktime_get_ns();
        }
    }
    Some(())
}

#[inline(always)]
fn end(kind: u32) -> Option<()> {
    let id = bpf_get_current_pid_tgid();
    let thread = THREADS.get_ptr_mut(id)?;
    // SAFETY: a value of the map, which only this thread writes; the index is inside.
    let began = unsafe { pause(thread, kind) };
    // SAFETY: as above.
    let since = unsafe { began.replace(0) };
    if since == 0 {
        return None;
    }
    // SAFETY: reads the clock.
    let now = unsafe { bpf_ktime_get_ns() };
    let totals = totals(id)?;
    let index = (black_box(kind) as usize).min(PAUSES.len() - 1);
    // SAFETY: a histogram of a map's value; the index is inside.
    unsafe { observe((&raw mut (*totals).pauses).cast::<Gap>().add(index), &GAP_NS, now - since) };
    Some(())
}

/// Where the begin of a thread's pause of this kind stands.
///
/// # Safety
/// `thread` is a value of the map.
#[inline(always)]
unsafe fn pause(thread: *mut Thread, kind: u32) -> *mut u64 {
    // The compiler knows that it is small; the verifier does not, and needs the comparison.
    let index = (black_box(kind) as usize).min(PAUSES.len() - 1);
    // SAFETY: the caller's; the index is inside.
    unsafe { (&raw mut (*thread).pause_ns).cast::<u64>().add(index) }
}

/// The counts of the thread with this `pid_tgid`.
#[inline(always)]
fn totals(id: u64) -> Option<*mut Totals> {
    let process = (id >> 32) as u32;
    let is_main = id as u32 == process;
    let process = PROCESSES.get_ptr_mut(process)?;
    // SAFETY: a value of the map, which no program removes.
    Some(unsafe { if is_main { &raw mut (*process).main } else { &raw mut (*process).workers } })
}

/// The running thread, where it belongs to a target.
#[inline(always)]
fn thread() -> Option<*mut Thread> {
    let id = bpf_get_current_pid_tgid();
    let thread = match THREADS.get_ptr_mut(id) {
        Some(thread) => thread,
        None => first_seen(id)?,
    };
    // SAFETY: a value of the map.
    (unsafe { (*thread).target } != 0).then_some(thread)
}

/// Makes the entry of a thread, and that of its process where it is of a target.
#[inline(never)]
fn first_seen(id: u64) -> Option<*mut Thread> {
    let target = target();
    if target != 0 {
        process((id >> 32) as u32, target)?;
    }
    let made = THREADS.insert(id, Thread::new(target), BPF_NOEXIST.into());
    if made.is_err() {
        lost(Kind::Runtime, Reason::MapFull);
        return None;
    }
    THREADS.get_ptr_mut(id)
}

#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, the empty counts would not fit the stack"
)]
fn process(id: u32, target: u32) -> Option<()> {
    if PROCESSES.get_ptr(id).is_none() && shares::take_process(target) {
        // Another of its threads may have inserted it meanwhile.
        let _exists = PROCESSES.insert(&id, &EMPTY, BPF_NOEXIST.into());
    }
    let Some(process) = PROCESSES.get_ptr_mut(id) else {
        lost(Kind::Runtime, Reason::MapFull);
        return None;
    };
    // SAFETY: a value of the map; each thread of the process writes the same.
    unsafe { (*process).target = target };
    Some(())
}

/// The target of the running thread, 0 where it has none.
#[inline(always)]
fn target() -> u32 {
    innermost_target().map_or(0, |(_, target)| target)
}

/// The innermost cgroup around the running thread that is a target's, and the target.
#[inline(always)]
pub(crate) fn innermost_target() -> Option<(u64, u32)> {
    // From the deepest on, so that the first one is it: where the verifier had to keep what was found on the way, it
    // followed each level twice, and took half a million instructions for a program.
    for level in (0..DEEPEST).rev() {
        // SAFETY: takes a number; 0 for a level below the thread's own.
        let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if let Some(found) = CGROUP_TARGETS.get_ptr(cgroup) {
            // SAFETY: a value of the map.
            return Some((cgroup, unsafe { *found }));
        }
    }
    None
}
