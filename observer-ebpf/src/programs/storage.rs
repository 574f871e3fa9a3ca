//! What is kept with a socket: who its connection is, and what is followed of it.
//! Freed with the socket; made and deleted by `flow` alone.

use core::ptr;

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    btf_maps::{self, PerCpuArray, SkStorage},
    cty::c_void,
    helpers::generated::{bpf_sk_storage_delete, bpf_sk_storage_get},
    macros::btf_map,
};
use observer_ebpf::flow::{Connection, Followed};

/// The state of each connection of a target.
#[btf_map]
static CONNECTIONS: SkStorage<Connection> = SkStorage::new();

/// What is followed of a connection whose first bytes were HTTP's.
#[btf_map]
static HTTP: SkStorage<Followed> = SkStorage::new();

/// What a listener of this CPU saw last: the first bytes of a connection whose socket is made within the same interrupt.
#[btf_map]
static EARLY: PerCpuArray<Early, 1> = PerCpuArray::new();

/// The first bytes of a connection that came before its socket was made: with the SYN, or with the acknowledgement that ends
/// the handshake.
#[repr(C)]
pub(crate) struct Early {
    /// The sequence number of the first byte.
    pub(crate) sequence: u32,
    /// How many they are, 0 if none.
    pub(crate) length: u32,
    /// The target whose listener it was.
    pub(crate) target: u32,
    /// What they were found to be ([`observer_ebpf::flow::Carries`]).
    pub(crate) protocol: u32,
    /// When they came.
    pub(crate) now_ns: u64,
    /// Where a PROXY header and the bytes that were too few to decide are noted, as on a socket.
    pub(crate) connection: Connection,
    /// What the framer made of them, where they are HTTP.
    pub(crate) followed: Followed,
}

/// The state of a socket's connection.
///
/// # Safety
/// `socket` is a socket pointer of the program's context or argument that the verifier knows to be not null.
#[inline(always)]
pub(crate) unsafe fn connection(socket: *mut c_void) -> Option<&'static mut Connection> {
    // SAFETY: the caller's; without the flag to create, the helper only looks up. The storage lives as long as its socket,
    // which the running program holds.
    unsafe { bpf_sk_storage_get(connections(), socket, ptr::null_mut(), 0).cast::<Connection>().as_mut() }
}

/// Gives a socket the state `initial`, or returns the one that it has.
///
/// # Safety
/// As for [`connection`].
#[inline(always)]
pub(crate) unsafe fn make_connection(
    socket: *mut c_void,
    initial: &mut Connection,
) -> Option<&'static mut Connection> {
    let value = ptr::from_mut(initial).cast();
    // SAFETY: the caller's; `value` is copied.
    unsafe {
        bpf_sk_storage_get(connections(), socket, value, BPF_SK_STORAGE_GET_F_CREATE.into())
            .cast::<Connection>()
            .as_mut()
    }
}

/// What is followed of a socket's connection.
///
/// # Safety
/// As for [`connection`].
#[inline(always)]
pub(crate) unsafe fn followed(socket: *mut c_void) -> Option<*mut Followed> {
    // SAFETY: the caller's; without the flag to create, the helper only looks up.
    let state = unsafe { bpf_sk_storage_get(http(), socket, ptr::null_mut(), 0) };
    if state.is_null() { None } else { Some(state.cast()) }
}

/// Begins to follow a socket's connection: with `initial`, or with zeros where that is null.
///
/// # Safety
/// As for [`connection`]; `initial` is null or points to a value of a map.
#[inline(always)]
pub(crate) unsafe fn make_followed(socket: *mut c_void, initial: *mut Followed) -> Option<*mut Followed> {
    // SAFETY: the caller's; `initial` is copied.
    let state =
        unsafe { bpf_sk_storage_get(http(), socket, initial.cast(), BPF_SK_STORAGE_GET_F_CREATE.into()) };
    if state.is_null() { None } else { Some(state.cast()) }
}

/// Deletes what is followed of a socket's connection; true for the one of all callers who did. Programs that run now may go on
/// to use it.
///
/// # Safety
/// As for [`connection`].
#[inline(always)]
pub(crate) unsafe fn delete_followed(socket: *mut c_void) -> bool {
    // SAFETY: the caller's; the kernel frees it once no running program can have it.
    unsafe { bpf_sk_storage_delete(http(), socket) == 0 }
}

/// What the listeners of this CPU saw last.
#[inline(always)]
pub(crate) fn early() -> Option<*mut Early> {
    EARLY.get_ptr_mut(0)
}

#[inline(always)]
fn connections() -> *mut c_void {
    ptr::from_ref(&CONNECTIONS).cast_mut().cast()
}

#[inline(always)]
fn http() -> *mut c_void {
    ptr::from_ref(&HTTP).cast_mut().cast()
}

/// The number of the target that a program runs for, by the cgroup that the program is attached to: a process in
/// any descendant of that cgroup belongs to the target. 0 until the agent has written it.
#[btf_map]
#[expect(
    deprecated,
    reason = "its successor, cgroup local storage, came with Linux 6.2 and knows no attach point"
)]
static TARGETS: btf_maps::CgroupStorage<u32> = btf_maps::CgroupStorage::new();

/// The number of the target that the running cgroup program is attached to.
#[inline(always)]
pub(crate) fn target() -> u32 {
    // SAFETY: the helper returns the storage of the program's own attachment, which lives as long as that.
    unsafe { *TARGETS.get_ptr_mut() }
}
