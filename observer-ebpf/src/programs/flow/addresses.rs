//! Both ends of a connection: its addresses, and the sockets of this host that they belong to.
//! Looked up once for each connection at most.

use core::ptr;

use aya_ebpf::{
    bindings::{
        __sk_buff, bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::{bpf_sk_fullsock, bpf_sk_release, bpf_skc_lookup_tcp},
};

use crate::storage;

/// IANA's number of TCP.
pub(crate) const TCP: u32 = 6;
/// `AF_INET`, include/linux/socket.h.
const INET: u32 = 2;

/// `TCP_LISTEN`, `include/net/tcp_states.h`.
const LISTEN: u32 = 10;

/// An address as four words in network byte order, IPv4 as IPv4-mapped (RFC 4291 section 2.5.5.2).
pub(crate) type Address = [u32; 4];

#[inline(always)]
const fn mapped(address: u32) -> Address {
    [0, 0, u32::to_be(0xffff), address]
}

/// The peer's address.
///
/// # Safety
/// `socket` is a full socket.
#[inline(always)]
pub(crate) unsafe fn remote_address(socket: *const bpf_sock) -> Address {
    // SAFETY: the caller's; fields are read one by one because the verifier accepts no other access.
    unsafe {
        if (*socket).family == INET {
            return mapped((*socket).dst_ip4);
        }
        [
            ptr::read_volatile(&raw const (*socket).dst_ip6[0]),
            ptr::read_volatile(&raw const (*socket).dst_ip6[1]),
            ptr::read_volatile(&raw const (*socket).dst_ip6[2]),
            ptr::read_volatile(&raw const (*socket).dst_ip6[3]),
        ]
    }
}

/// The own address.
///
/// # Safety
/// `socket` is a full socket.
#[inline(always)]
unsafe fn local_address(socket: *const bpf_sock) -> Address {
    // SAFETY: as in `remote_address`.
    unsafe {
        if (*socket).family == INET {
            return mapped((*socket).src_ip4);
        }
        [
            ptr::read_volatile(&raw const (*socket).src_ip6[0]),
            ptr::read_volatile(&raw const (*socket).src_ip6[1]),
            ptr::read_volatile(&raw const (*socket).src_ip6[2]),
            ptr::read_volatile(&raw const (*socket).src_ip6[3]),
        ]
    }
}

/// Both ends of a packet; ports in network byte order.
struct Ends {
    from: Address,
    from_port: u16,
    to: Address,
    to_port: u16,
}

/// The socket that a packet between these ends is for, in the network namespace of `skb`; to be released.
///
/// # Safety
/// `skb` is the program's context.
#[inline(always)]
unsafe fn look_up(skb: *mut __sk_buff, ends: &Ends) -> *mut bpf_sock {
    /// `BPF_F_CURRENT_NETNS`: the network namespace of the packet.
    const CURRENT_NETNS: u64 = u64::MAX;
    // SAFETY: the caller's; a zeroed tuple is a value.
    unsafe {
        let mut tuple: bpf_sock_tuple = core::mem::zeroed();
        let is_ipv4 = ends.to[0] == 0 && ends.to[1] == 0 && ends.to[2] == u32::to_be(0xffff);
        let size = if is_ipv4 {
            tuple.__bindgen_anon_1.ipv4.saddr = ends.from[3];
            tuple.__bindgen_anon_1.ipv4.sport = ends.from_port;
            tuple.__bindgen_anon_1.ipv4.daddr = ends.to[3];
            tuple.__bindgen_anon_1.ipv4.dport = ends.to_port;
            size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>()
        } else {
            tuple.__bindgen_anon_1.ipv6.saddr = ends.from;
            tuple.__bindgen_anon_1.ipv6.sport = ends.from_port;
            tuple.__bindgen_anon_1.ipv6.daddr = ends.to;
            tuple.__bindgen_anon_1.ipv6.dport = ends.to_port;
            size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>()
        };
        bpf_skc_lookup_tcp(skb.cast(), &raw mut tuple, size as u32, CURRENT_NETNS, 0)
    }
}

/// Whether a socket listens where this one is bound: then the target accepted it. The remote end of the look-up
/// is one that no connection has, so that it finds listeners only.
///
/// # Safety
/// `socket` is a full socket.
#[inline(always)]
pub(crate) unsafe fn has_listener(skb: *mut __sk_buff, socket: *const bpf_sock, local_port: u16) -> bool {
    // SAFETY: the caller's; what the look-up returns is released.
    unsafe {
        let to = local_address(socket);
        let found = look_up(skb, &Ends { from: [0; 4], from_port: 0, to, to_port: local_port.to_be() });
        if found.is_null() {
            return false;
        }
        let listens = (*found).state == LISTEN;
        bpf_sk_release(found.cast());
        listens
    }
}

/// Whether the other end of the connection is a socket of the same target on this host. Looked up once for each
/// connection, and only where the addresses allow it.
///
/// # Safety
/// `socket` is the packet's socket and not null.
#[inline(never)]
pub(crate) unsafe fn calls_itself(skb: *mut __sk_buff, socket: *mut bpf_sock, target: u32) -> u32 {
    // SAFETY: the caller's; each helper checks what it is given, and what the look-up returns is released.
    unsafe {
        let socket = bpf_sk_fullsock(socket);
        if socket.is_null() {
            return 0;
        }
        let (local, remote) = (local_address(socket), remote_address(socket));
        // The other end's socket is the one that packets from here go to.
        let ends = Ends {
            from: local,
            from_port: ((*socket).src_port as u16).to_be(),
            to: remote,
            to_port: (*socket).dst_port,
        };
        let is_loopback = u32::from_be(remote[3]) >> 24 == 127 || remote == [0, 0, 0, u32::to_be(1)];
        if !is_loopback && local != remote {
            return 0;
        }
        let found = look_up(skb, &ends);
        if found.is_null() {
            return 0;
        }
        let same = storage::connection(found.cast()).is_some_and(|other| other.peer.target == target);
        bpf_sk_release(found.cast());
        u32::from(same)
    }
}

/// Whether the socket of a packet is one that listens: it has the first data of a connection whose handshake the data
/// completes, because the acknowledgement before it was lost.
#[inline(always)]
pub(crate) fn is_listener(socket: *mut bpf_sock) -> bool {
    if socket.is_null() {
        return false;
    }
    // SAFETY: the context's socket, not null; the state is that of a full socket after the check.
    unsafe {
        let socket = bpf_sk_fullsock(socket);
        !socket.is_null() && (*socket).protocol == TCP && (*socket).state == LISTEN
    }
}
