//! Takes in the connections that were open before the agent attached, by giving their sockets a state.
//! A connection that stays idle sends no packet by which the kernel half could notice it.
//!
//! Each socket is asked itself, through a copy of its descriptor that is closed at once. The tables of the network
//! namespace would tell the same, but reading them walks the whole host's hash of sockets (6 ms on a machine with
//! 24 GiB), once for each container.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
};

use aya::maps::{MapData, SkStorage};
use observer_ebpf::{
    flow::connection::{Connection, MADE_BY_AGENT, is_open, peer_key},
    records::peer::{Direction, PeerKey},
};
use procfs::process::{FDTarget, Process};

use super::sys;

/// `BPF_NOEXIST`: only where the socket has no state yet. The kernel decides who was first.
const ONLY_NEW: u64 = 1;

/// Adopts what the processes have open for `target`; returns the peer of each connection that was not known.
pub(super) fn adopt(
    storage: &mut SkStorage<MapData, Connection>,
    target: u32,
    processes: &[u32],
) -> Vec<PeerKey> {
    let mut listening = HashSet::new();
    each_socket(processes, |socket| {
        if sys::is_listening(&socket)
            && let Ok(local) = TcpStream::from(socket).local_addr()
        {
            listening.insert(local.port());
        }
    });
    let mut adopted = Vec::new();
    each_socket(processes, |socket| {
        // Other protocols have no such state.
        let Some(tcp_state) = sys::tcp_state(&socket).filter(|state| is_open(*state)) else { return };
        let socket = TcpStream::from(socket);
        let (Ok(local), Ok(remote)) = (socket.local_addr(), socket.peer_addr()) else { return };
        // One that is bound to a port on which something listens was accepted there.
        let accepted = listening.contains(&local.port());
        let direction = if accepted { Direction::Inbound } else { Direction::Outbound };
        let peer = peer_key(target, direction, octets(remote), remote.port());
        let mut state = Connection::adopted(peer, tcp_state, sys::monotonic_ns());
        state.made_by = MADE_BY_AGENT;
        if storage.insert(&socket, state, ONLY_NEW).is_ok() {
            adopted.push(peer);
        }
    });
    adopted
}

/// Calls `visit` with a copy of every socket that the processes have open. Processes and sockets that are gone
/// meanwhile have no connections.
fn each_socket(processes: &[u32], mut visit: impl FnMut(OwnedFd)) {
    for pid in processes {
        let Ok(descriptors) = Process::new(pid.cast_signed()).and_then(|process| process.fd()) else {
            continue;
        };
        let mut handle = None;
        for descriptor in descriptors.flatten() {
            if !matches!(descriptor.target, FDTarget::Socket(_)) {
                continue;
            }
            if handle.is_none() {
                handle = sys::open_process(*pid).ok();
            }
            let Some(handle) = &handle else { break };
            if let Ok(socket) = sys::descriptor_of(handle, descriptor.fd) {
                visit(socket);
            }
        }
    }
}

/// An address as the kernel half keeps it: 16 bytes, IPv4 as IPv4-mapped.
fn octets(address: SocketAddr) -> [u8; 16] {
    match address.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
