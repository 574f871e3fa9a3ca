//! Where the members lie that the kernel half reads, by the name of the global that takes the offset.
//! Resolved once at start from the running kernel's type information; nothing is baked in.

use super::btf::Btf;

/// A member that programs read.
struct Wanted {
    /// The global in the kernel half.
    global: &'static str,
    structure: &'static str,
    member: &'static str,
    /// Bytes that the program loads.
    size: u32,
}

const WANTED: &[Wanted] = &[
    Wanted { global: "SOCK_ERR", structure: "sock", member: "sk_err", size: 4 },
    Wanted { global: "SOCK_FLAGS", structure: "sock", member: "sk_flags", size: 8 },
    Wanted { global: "TCP_BYTES_RECEIVED", structure: "tcp_sock", member: "bytes_received", size: 8 },
    Wanted { global: "TCP_RCV_WND", structure: "tcp_sock", member: "rcv_wnd", size: 4 },
    Wanted { global: "TCP_RCV_WUP", structure: "tcp_sock", member: "rcv_wup", size: 4 },
    Wanted { global: "TCP_RCV_NXT", structure: "tcp_sock", member: "rcv_nxt", size: 4 },
    Wanted { global: "TCP_SND_NXT", structure: "tcp_sock", member: "snd_nxt", size: 4 },
    Wanted { global: "TCP_TOTAL_RETRANS", structure: "tcp_sock", member: "total_retrans", size: 4 },
    Wanted { global: "CGROUP_ROOT", structure: "cgroup", member: "root", size: 8 },
    Wanted { global: "ROOT_HIERARCHY_ID", structure: "cgroup_root", member: "hierarchy_id", size: 4 },
    Wanted { global: "CGROUP_KN", structure: "cgroup", member: "kn", size: 8 },
    Wanted { global: "KERNFS_ID", structure: "kernfs_node", member: "id", size: 8 },
    Wanted { global: "TASK_SIGNAL", structure: "task_struct", member: "signal", size: 8 },
    Wanted { global: "TASK_EXIT_CODE", structure: "task_struct", member: "exit_code", size: 4 },
    Wanted { global: "SIGNAL_OOM_MM", structure: "signal_struct", member: "oom_mm", size: 8 },
];

/// The offset of one member, for the global of this name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offset {
    /// The global in the kernel half.
    pub(super) global: &'static str,
    /// Bytes; all ones where this kernel has no such member.
    pub(super) value: u32,
}

/// Every offset, and the members that this kernel lacks as `structure.member`.
pub(super) fn resolve(btf: &Btf<'_>) -> (Vec<Offset>, Vec<String>) {
    let mut missing = Vec::new();
    let offsets = WANTED.iter().map(|wanted| {
        let place = btf.member(wanted.structure, wanted.member).filter(|place| place.size == wanted.size);
        if place.is_none() {
            missing.push(format!("{}.{}", wanted.structure, wanted.member));
        }
        Offset { global: wanted.global, value: place.map_or(u32::MAX, |place| place.offset) }
    });
    (offsets.collect(), missing)
}
