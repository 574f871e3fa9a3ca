//! Tells the agent of every cgroup that is made or removed, so that a container is attached to before it runs.
//! Rare and host-wide: a container makes a handful of them in its life.

use aya_ebpf::{
    btf_maps::RingBuf,
    helpers::bpf_probe_read_kernel_str_bytes,
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};
use observer_ebpf::records::{
    cgroup::{CGROUP_CREATED, CGROUP_REMOVED, CgroupRecord, PATH_BYTES},
    loss::{Kind, Reason},
};

use crate::{
    offsets::{CGROUP_KN, CGROUP_ROOT, KERNFS_ID, ROOT_HIERARCHY_ID, member},
    output::lost,
};

/// Sized by the agent (`limits.ring_bytes`).
#[btf_map]
pub(crate) static RECORDS: RingBuf<CgroupRecord, 1_048_576> = RingBuf::new();

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`, include/trace/events/cgroup.h.
#[btf_tracepoint(function = "cgroup_mkdir")]
fn cgroup_created(ctx: BtfTracePointContext) -> i32 {
    send(&ctx, CGROUP_CREATED);
    0
}

/// The same prototype as `cgroup_mkdir`.
#[btf_tracepoint(function = "cgroup_rmdir")]
fn cgroup_removed(ctx: BtfTracePointContext) -> i32 {
    send(&ctx, CGROUP_REMOVED);
    0
}

#[inline(always)]
fn send(ctx: &BtfTracePointContext, kind: u32) -> Option<()> {
    let cgroup: *const u8 = ctx.arg(0);
    let path: *const u8 = ctx.arg(1);
    // SAFETY: `cgroup` is the tracepoint's typed argument, the other pointers are read from it.
    let id = unsafe {
        let root: *const u8 = member(cgroup, &CGROUP_ROOT)?;
        if member::<u32>(root, &ROOT_HIERARCHY_ID)? != 0 {
            return None;
        }
        let node: *const u8 = member(cgroup, &CGROUP_KN)?;
        member::<u64>(node, &KERNFS_ID)?
    };
    let Some(mut entry) = RECORDS.reserve(0) else {
        lost(Kind::Cgroup, Reason::RingFull);
        return None;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the entry is ours until it is submitted, and has room for the record; the path is the tracepoint's
    // second argument, a string in kernel memory.
    let length = unsafe {
        (*record).kind = kind;
        (*record).id = id;
        let room = &mut (*record).path;
        bpf_probe_read_kernel_str_bytes(path, room).map_or(0, <[u8]>::len)
    };
    // SAFETY: as above.
    unsafe { (*record).path_length = length as u32 };
    if length == 0 || length >= PATH_BYTES - 1 {
        lost(Kind::Cgroup, Reason::Truncated);
    }
    entry.submit(0);
    Some(())
}
