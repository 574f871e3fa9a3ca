//! Takes in connections that were open before the programs were attached.
//! Their bytes count from the first packet that is seen.

use core::ptr;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::{bpf_ktime_get_ns, bpf_sk_fullsock, bpf_tcp_sock},
};
use observer_ebpf::{
    flow::{
        Connection,
        connection::{is_open, peer_key, state},
    },
    records::peer::Direction,
};

use super::{
    addresses::{TCP, has_listener, remote_address},
    make_connection,
};
use crate::{count::add, peers};

/// Makes the state of a connection that was open before. A function of its own: its frame of the stack is not that of every
/// packet.
#[inline(never)]
pub(super) fn adopt(
    skb: *mut __sk_buff,
    socket: *mut bpf_sock,
    target: u32,
) -> Option<&'static mut Connection> {
    if target == 0 {
        return None;
    }
    // SAFETY: the context's socket, not null; the fields are those of a full socket after the check.
    unsafe {
        let socket = bpf_sk_fullsock(socket);
        if socket.is_null() || (*socket).protocol != TCP || !is_open((*socket).state) {
            return None;
        }
        let (local_port, remote) = ((*socket).src_port as u16, remote_address(socket));
        let direction =
            if has_listener(skb, socket, local_port) { Direction::Inbound } else { Direction::Outbound };
        let mut address = [0_u8; 16];
        ptr::write_unaligned((&raw mut address).cast(), remote);
        let peer = peer_key(target, direction, address, u16::from_be((*socket).dst_port));
        let mut initial = Connection::adopted(peer, (*socket).state, bpf_ktime_get_ns());
        let connection = make_connection(socket.cast(), &mut initial)?;
        let totals = peers::totals(&mut connection.peer)?;
        add(&raw mut (*totals).preexisting, 1);
        Some(connection)
    }
}

/// Finds out where an adopted connection stands: its bytes count from here on.
#[inline(never)]
pub(super) fn base(socket: *mut bpf_sock, connection: &mut Connection) -> Option<()> {
    // SAFETY: the context's socket, not null; each helper checks what it is given.
    unsafe {
        let full = bpf_sk_fullsock(socket);
        if full.is_null() {
            return None;
        }
        let tcp_state = (*full).state;
        let tcp = bpf_tcp_sock(full);
        if tcp.is_null() {
            return None;
        }
        connection.sent_base = (*tcp).snd_nxt;
        connection.received_base = (*tcp).rcv_nxt;
        connection.received_highest = (*tcp).rcv_nxt;
        connection.received_total_base = (*tcp).bytes_received;
        connection.retransmitted_base = (*tcp).total_retrans;
        connection.fin_in_base =
            u8::from(matches!(tcp_state, state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING));
    }
    connection.based = 1;
    Some(())
}
