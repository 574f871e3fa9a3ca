//! Offsets of the kernel structures' members that programs read, found by the agent in the kernel's BTF at start.
//! rustc emits no CO-RE relocations. As frozen globals they are constants to the verifier, which therefore
//! accepts them in loads through typed pointers and drops the branches that an [`ABSENT`] member guards.

use aya_ebpf::Global;

/// Value of a member that this kernel does not have.
pub(crate) const ABSENT: u32 = u32::MAX;

/// Declares the globals; the agent's table names each with its structure and member.
macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub(crate) static $name: Global<u32> = Global::new(ABSENT);
    )*};
}

offsets! {
    /// `sock.sk_err`, int.
    SOCK_ERR,
    /// `sock.sk_flags`, unsigned long.
    SOCK_FLAGS,
    /// `tcp_sock.bytes_received`, u64.
    TCP_BYTES_RECEIVED,
    /// `tcp_sock.rcv_nxt`, u32.
    TCP_RCV_NXT,
    /// `tcp_sock.rcv_wnd`, u32.
    TCP_RCV_WND,
    /// `tcp_sock.rcv_wup`, u32.
    TCP_RCV_WUP,
    /// `tcp_sock.snd_nxt`, u32.
    TCP_SND_NXT,
    /// `tcp_sock.total_retrans`, u32.
    TCP_TOTAL_RETRANS,
    /// `cgroup.root`, pointer to `cgroup_root`.
    CGROUP_ROOT,
    /// `cgroup_root.hierarchy_id`, int; 0 is the v2 hierarchy.
    ROOT_HIERARCHY_ID,
    /// `cgroup.kn`, pointer to `kernfs_node`.
    CGROUP_KN,
    /// `kernfs_node.id`, u64; on 64-bit kernels the inode number.
    KERNFS_ID,
    /// `task_struct.signal`, pointer to `signal_struct`.
    TASK_SIGNAL,
    /// `task_struct.exit_code`, int.
    TASK_EXIT_CODE,
    /// `signal_struct.oom_mm`, pointer to `mm_struct`.
    SIGNAL_OOM_MM,
}

/// Reads a member through a typed pointer of a tracing program's argument.
///
/// # Safety
/// `pointer` is a pointer that the verifier knows as the structure that `offset` belongs to, or one read from it.
#[inline(always)]
pub(crate) unsafe fn member<T: Copy>(pointer: *const u8, offset: &Global<u32>) -> Option<T> {
    let offset = offset.load();
    if offset == ABSENT {
        return None;
    }
    // SAFETY: the caller's; the kernel turns a fault at such a load into zero.
    Some(unsafe { *pointer.add(offset as usize).cast::<T>() })
}
