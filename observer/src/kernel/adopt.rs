//! Takes in the connections that were open before the agent attached, by giving their sockets a state.
//! A connection that stays idle sends no packet by which the kernel half could notice it.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use aya::maps::{MapData, SkStorage};
use observer_ebpf::{
    connection::{Connection, is_open, peer_key},
    peer::{Direction, PeerKey},
};
use procfs::{
    net::TcpState,
    process::{FDTarget, Process},
};

use super::sys;

/// `BPF_NOEXIST`: only where the socket has no state yet. The kernel decides who was first.
const ONLY_NEW: u64 = 1;

/// An open TCP socket as the tables of its network namespace show it.
struct Open {
    peer: PeerKey,
    tcp_state: u32,
}

/// Adopts what the processes have open for `target`; returns the peer of each connection that was not known.
pub(super) fn adopt(
    storage: &mut SkStorage<MapData, Connection>,
    target: u32,
    processes: &[u32],
) -> Vec<PeerKey> {
    let mut tables: HashMap<u64, HashMap<u64, Open>> = HashMap::new();
    let mut adopted = Vec::new();
    for pid in processes {
        // A process that is gone has no connections.
        let Ok(process) = Process::new(pid.cast_signed()) else {
            continue;
        };
        let Some(namespace) = network_namespace(&process) else {
            continue;
        };
        let sockets = tables.entry(namespace).or_insert_with(|| open_sockets(&process, target));
        if !sockets.is_empty() {
            adopt_process(storage, &process, sockets, &mut adopted);
        }
    }
    adopted
}

fn adopt_process(
    storage: &mut SkStorage<MapData, Connection>,
    process: &Process,
    sockets: &mut HashMap<u64, Open>,
    adopted: &mut Vec<PeerKey>,
) {
    let Ok(descriptors) = process.fd() else { return };
    let mut handle = None;
    for descriptor in descriptors.flatten() {
        let FDTarget::Socket(inode) = descriptor.target else {
            continue;
        };
        // Removed: processes that were forked share their sockets.
        let Some(open) = sockets.remove(&inode) else {
            continue;
        };
        if handle.is_none() {
            handle = sys::open_process(process.pid.cast_unsigned()).ok();
        }
        let Some(handle) = &handle else { return };
        let Ok(socket) = sys::descriptor_of(handle, descriptor.fd) else {
            continue;
        };
        let mut state = Connection::adopted(open.peer, open.tcp_state, sys::monotonic_ns());
        state.made_by = u32::MAX;
        if storage.insert(&socket, state, ONLY_NEW).is_ok() {
            adopted.push(open.peer);
        }
    }
}

/// The inode number of the process' network namespace.
fn network_namespace(process: &Process) -> Option<u64> {
    let namespaces = process.namespaces().ok()?;
    namespaces.0.get(std::ffi::OsStr::new("net")).map(|namespace| namespace.identifier)
}

/// The open TCP sockets of a process' network namespace by inode number. One that is bound to a port on which
/// something listens was accepted there.
fn open_sockets(process: &Process, target: u32) -> HashMap<u64, Open> {
    let entries: Vec<_> =
        process.tcp().unwrap_or_default().into_iter().chain(process.tcp6().unwrap_or_default()).collect();
    let listening: HashSet<u16> = entries
        .iter()
        .filter(|entry| entry.state == TcpState::Listen)
        .map(|entry| entry.local_address.port())
        .collect();
    let open = entries.into_iter().filter_map(|entry| {
        let tcp_state = entry.state.clone() as u32;
        if !is_open(tcp_state) || entry.inode == 0 {
            return None;
        }
        let accepted = listening.contains(&entry.local_address.port());
        let direction = if accepted { Direction::Inbound } else { Direction::Outbound };
        let peer = peer_key(target, direction, octets(entry.remote_address), entry.remote_address.port());
        Some((entry.inode, Open { peer, tcp_state }))
    });
    open.collect()
}

/// An address as the kernel half keeps it: 16 bytes, IPv4 as IPv4-mapped.
fn octets(address: SocketAddr) -> [u8; 16] {
    match address.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
