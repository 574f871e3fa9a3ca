//! The bpf(2) and pidfd calls that aya does not make: iterators over a map, batched look-ups, a socket of another
//! process. Numbers and layouts are those of include/uapi/linux/bpf.h.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the kernel's numbers fit: descriptors are ints, sizes those of small structures"
)]

use std::{
    fs::File,
    io, mem,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr,
};

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: libc::c_int = 21;
pub(super) const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;
/// `BPF_TRACE_ITER` of `enum bpf_attach_type`.
const TRACE_ITER: u32 = 28;

/// `struct link_create` of `union bpf_attr`, up to what iterators use.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    info: u64,
    info_length: u32,
    padding: u32,
}

/// `struct iter_create` of `union bpf_attr`.
#[repr(C)]
struct IterCreate {
    link: u32,
    flags: u32,
}

/// `struct query` of `union bpf_attr`, up to what Linux 5.10 has.
#[repr(C)]
struct Query {
    cgroup: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// `struct batch` of `union bpf_attr`.
#[repr(C)]
struct Batch {
    from_position: u64,
    to_position: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// The element commands' part of `union bpf_attr`.
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Calls bpf(2); `attributes` is one of the layouts here and in `uprobe_multi`.
pub(super) fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` lives through the call and its size is given; callers below pass pointers in it that
    // do so too.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

pub(super) fn owned(result: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just returned it as a new file descriptor, which nothing else owns.
    unsafe { OwnedFd::from_raw_fd(result as libc::c_int) }
}

/// Attaches an iterator program to a map. aya's own `attach` cannot name one (`bpf_iter_link_info`).
pub(super) fn link_map_iterator(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // `union bpf_iter_link_info` for a map: its file descriptor.
    let info = map.as_raw_fd().cast_unsigned();
    let mut attributes = LinkCreate {
        program: program.as_raw_fd().cast_unsigned(),
        target: 0,
        attach_type: TRACE_ITER,
        flags: 0,
        info: ptr::from_ref(&info) as u64,
        info_length: size_of_val(&info) as u32,
        padding: 0,
    };
    bpf(BPF_LINK_CREATE, &mut attributes).map(owned)
}

/// A new pass of an attached iterator; reading it runs the program for each element.
pub(super) fn iterate(link: &OwnedFd) -> io::Result<File> {
    let mut attributes = IterCreate { link: link.as_raw_fd().cast_unsigned(), flags: 0 };
    bpf(BPF_ITER_CREATE, &mut attributes).map(|result| File::from(owned(result)))
}

/// How many programs of this attach type a cgroup itself has, and the flags that they were attached with.
pub(super) fn attached_programs(cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<(u32, u32)> {
    let mut attributes = Query {
        cgroup: cgroup.as_raw_fd().cast_unsigned(),
        attach_type,
        flags: 0,
        attach_flags: 0,
        ids: 0,
        count: 0,
        padding: 0,
    };
    bpf(BPF_PROG_QUERY, &mut attributes).map(|_| (attributes.count, attributes.attach_flags))
}

/// Every element of a hash map, in batches of `batch`. An element that other CPUs insert meanwhile may be missed
/// until the next call.
pub(super) fn look_up_all<K, V>(map: BorrowedFd<'_>, batch: u32) -> io::Result<Vec<(K, V)>>
where
    K: aya::Pod,
    V: aya::Pod,
{
    let mut elements = Vec::new();
    let mut keys: Vec<mem::MaybeUninit<K>> = Vec::with_capacity(batch as usize);
    let mut values: Vec<mem::MaybeUninit<V>> = Vec::with_capacity(batch as usize);
    let mut position = 0_u32;
    let mut first = true;
    let mut room = batch;
    loop {
        keys.reserve(room as usize);
        values.reserve(room as usize);
        let mut next = 0_u32;
        let mut attributes = Batch {
            from_position: if first { 0 } else { ptr::from_ref(&position) as u64 },
            to_position: ptr::from_mut(&mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: room,
            map: map.as_raw_fd().cast_unsigned(),
            element_flags: 0,
            flags: 0,
        };
        let result = bpf(BPF_MAP_LOOKUP_BATCH, &mut attributes);
        let done = match &result {
            Ok(_) => false,
            Err(error) => match error.raw_os_error() {
                // The end: what `count` says was still returned.
                Some(libc::ENOENT) => true,
                // One bucket holds more than the whole batch.
                Some(libc::ENOSPC) => {
                    room = room.saturating_mul(2);
                    continue;
                }
                _ => {
                    return Err(io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO)));
                }
            },
        };
        let count = attributes.count as usize;
        // SAFETY: both vectors have room for `room` elements, of which the kernel has written `count`.
        unsafe {
            keys.set_len(count);
            values.set_len(count);
            let read = keys.drain(..).zip(values.drain(..));
            elements.extend(read.map(|(key, value)| (key.assume_init(), value.assume_init())));
        }
        if done {
            return Ok(elements);
        }
        (position, first) = (next, false);
    }
}

/// An element of a hash map by one of the commands that copy it; `None` where there is none.
fn read_element<K, V>(command: libc::c_int, map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>>
where
    K: aya::Pod,
    V: aya::Pod,
{
    let mut value = mem::MaybeUninit::<V>::zeroed();
    let mut attributes = Element {
        map: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: ptr::from_ref(key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    match bpf(command, &mut attributes) {
        // SAFETY: every bit pattern of a plain type is a value, and the kernel has written this one.
        Ok(_) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Copies an element out of a hash map; `None` where there is none.
pub(super) fn look_up<K, V>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>>
where
    K: aya::Pod,
    V: aya::Pod,
{
    read_element(BPF_MAP_LOOKUP_ELEM, map, key)
}

/// Takes an element out of a hash map; `None` where there is none. Needs Linux 5.14.
pub(super) fn take_element<K, V>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>>
where
    K: aya::Pod,
    V: aya::Pod,
{
    read_element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, map, key)
}

/// Writes an element of a hash map, new or not.
pub(super) fn set_element<K, V>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()>
where
    K: aya::Pod,
    V: aya::Pod,
{
    let mut attributes = Element {
        map: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: ptr::from_ref(key) as u64,
        value: ptr::from_ref(value) as u64,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Deletes an element of a hash map; one that is not there is no error.
pub(super) fn delete_element<K: aya::Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let mut attributes = Element {
        map: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: ptr::from_ref(key) as u64,
        value: 0,
        flags: 0,
    };
    match bpf(BPF_MAP_DELETE_ELEM, &mut attributes) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

/// A handle of a process, which goes on to mean the same process when its number is used again.
pub(super) fn open_process(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(owned(result)) }
}

/// Another process' file descriptor, as one of our own. Needs `CAP_SYS_PTRACE` for processes of other users.
pub(super) fn descriptor_of(process: &OwnedFd, descriptor: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(owned(result)) }
}

/// Whether a socket waits for connections.
pub(super) fn is_listening(socket: &OwnedFd) -> bool {
    socket_option::<libc::c_int>(socket, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)
        .is_some_and(|listens| listens != 0)
}

/// The state of a TCP socket; `None` for every other socket.
pub(super) fn tcp_state(socket: &OwnedFd) -> Option<u32> {
    let protocol = socket_option::<libc::c_int>(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL)?;
    if protocol != libc::IPPROTO_TCP {
        return None;
    }
    // The first byte of `struct tcp_info` (include/uapi/linux/tcp.h); the kernel copies as much as is asked for.
    socket_option::<u8>(socket, libc::IPPROTO_TCP, libc::TCP_INFO).map(u32::from)
}

fn socket_option<T: aya::Pod>(socket: &OwnedFd, level: libc::c_int, name: libc::c_int) -> Option<T> {
    let mut value = mem::MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value has room for `length` bytes, and both live through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            ptr::from_mut(&mut length),
        )
    };
    // SAFETY: every bit pattern of a plain type is a value.
    (result == 0).then(|| unsafe { value.assume_init() })
}

/// The clock that the kernel half stamps with (`bpf_ktime_get_ns`), in nanoseconds.
pub(super) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for the call, which cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, ptr::from_mut(&mut now)) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// The borrowed descriptor of an aya map.
pub(super) fn map_descriptor(map: &aya::maps::MapData) -> BorrowedFd<'_> {
    map.fd().as_fd()
}

/// A value whose first bytes the kernel half wrote; the rest is zeroes. Bytes past its length are not read.
pub(super) fn read_prefix<T: aya::Pod>(bytes: &[u8]) -> T {
    let mut value = mem::MaybeUninit::<T>::zeroed();
    let length = bytes.len().min(size_of::<T>());
    // SAFETY: both are at least `length` bytes long, and the value has no references into `bytes`.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), value.as_mut_ptr().cast(), length) };
    // SAFETY: every bit pattern of a plain type is a value, also one with zeroes at its end.
    unsafe { value.assume_init() }
}

/// A value out of the bytes that the kernel half wrote. `bytes` must be as long as the value, else it is zeroes.
pub(super) fn read_pod<T: aya::Pod>(bytes: &[u8]) -> T {
    let mut value = mem::MaybeUninit::<T>::zeroed();
    if bytes.len() == size_of::<T>() {
        // SAFETY: the lengths are equal, and the value has no references into `bytes`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), value.as_mut_ptr().cast(), bytes.len()) };
    }
    // SAFETY: every bit pattern of a plain type is a value, also all zeroes.
    unsafe { value.assume_init() }
}
