//! A target's packets: which bytes went, when the first did, how long the round trip takes.
//! Everything is decided by sequence numbers, so that what is sent twice counts once.

use core::ptr;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::{bpf_ktime_get_ns, bpf_sk_fullsock, bpf_tcp_sock},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use observer_ebpf::{
    connection::{BASED, CONNECTING, Connection, is_open, peer_key},
    histogram::SHORT_NS,
    peer::Direction,
};

use crate::{
    count::add,
    early,
    ends::{has_listener, is_listener, remote_address},
    exchanges, framer, peers, sockets,
};

/// IANA's number of TCP.
pub(crate) const TCP: u32 = 6;
/// `AF_INET`, include/linux/socket.h.
pub(crate) const INET: u32 = 2;
const FIN: u8 = 1;
const SYN: u8 = 2;
/// A connection's round-trip time is sampled at most this often.
const RTT_INTERVAL_NS: i64 = 1_000_000_000;
/// The result that lets a packet pass.
const PASS: i32 = 1;

/// Packets that the target's sockets receive, before TCP has looked at them.
#[cgroup_skb(ingress)]
fn packet_ingress(ctx: SkBuffContext) -> i32 {
    receive(ctx.skb.skb);
    PASS
}

/// Packets that the target's sockets send, retransmissions among them, before they are cut into segments.
#[cgroup_skb(egress)]
fn packet_egress(ctx: SkBuffContext) -> i32 {
    send(ctx.skb.skb);
    PASS
}

#[inline(always)]
fn receive(skb: *mut __sk_buff) -> Option<()> {
    let segment = segment(skb)?;
    // Acknowledgements are half of all packets, and nothing is to be learnt from them.
    if segment.payload == 0 && segment.flags & FIN == 0 {
        return None;
    }
    // SAFETY: reads the clock.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if by_shortcut(skb, &segment, false, now_ns) {
        return Some(());
    }
    let Some((socket, connection)) = connection(skb) else {
        // SAFETY: a field of the program's context.
        let socket = unsafe { (*skb).__bindgen_anon_2.sk };
        if segment.payload > 0 && is_listener(socket) {
            early::came_early(skb, segment.sequence, segment.offset, segment.payload);
        }
        return None;
    };
    // A handshake that is under way has no positions yet.
    if connection.flags & BASED == 0 {
        return None;
    }
    connection.segment_received(segment.sequence, segment.payload);
    if segment.flags & FIN != 0 {
        connection.peer_fin = 1;
    }
    payload_passed(socket, connection, &segment, now_ns);
    // SAFETY: the context's socket, not null, and its state.
    unsafe {
        if segment.payload > 0 {
            let payload = (segment.sequence, segment.offset, segment.payload);
            exchanges::segment(skb, socket.cast(), connection, false, payload, now_ns);
        }
        if segment.flags & FIN != 0 {
            exchanges::fin(socket.cast(), connection, false, now_ns);
        }
    }
    Some(())
}

#[inline(always)]
fn send(skb: *mut __sk_buff) -> Option<()> {
    let segment = segment(skb)?;
    if segment.payload == 0 && segment.flags & FIN == 0 {
        return None;
    }
    let now_ns = departure(skb);
    if by_shortcut(skb, &segment, true, now_ns) {
        return Some(());
    }
    let (socket, connection) = connection(skb)?;
    let mut first = segment.sequence;
    if connection.stage == CONNECTING {
        // Data in the SYN (RFC 7413), which has a sequence number of its own.
        first = first.wrapping_add(1);
        connection.sent_base = first;
    }
    connection.segment_sent(first, segment.payload);
    if segment.flags & FIN != 0 {
        connection.local_fin = 1;
    }
    payload_passed(socket, connection, &segment, now_ns);
    // SAFETY: the context's socket, not null, and its state.
    unsafe {
        if segment.payload > 0 {
            exchanges::segment(
                skb,
                socket.cast(),
                connection,
                true,
                (first, segment.offset, segment.payload),
                now_ns,
            );
        }
        if segment.flags & FIN != 0 {
            exchanges::fin(socket.cast(), connection, true, now_ns);
        }
    }
    Some(())
}

/// Lets most segments of HTTP be framed with one look-up of a socket's storage. The connection's own state is left behind:
/// its bytes are those that the kernel knows of (`Connection::sent_up_to`, `received_up_to`), and its round-trip time is
/// sampled once a second, when no segment goes this way.
#[inline(always)]
fn by_shortcut(skb: *mut __sk_buff, segment: &Segment, outgoing: bool, now_ns: u64) -> bool {
    if segment.payload == 0 || segment.flags & (FIN | SYN) != 0 {
        return false;
    }
    let (positions, place) =
        framer::packed(segment.sequence, segment.payload, segment.offset, u32::from(outgoing));
    framer::http_shortcut(skb, positions, place, now_ns) != 0
}

/// When a packet is sent: TCP has read the clock for it and notes on the packet when it may go, which is the same
/// monotonic clock (`__tcp_transmit_skb`, `net/ipv4/tcp_output.c`, since Linux 4.20). To read it again would cost a tenth of
/// the program.
#[inline(always)]
fn departure(skb: *mut __sk_buff) -> u64 {
    // SAFETY: a field of the program's context.
    let noted = unsafe { (*skb).tstamp };
    // SAFETY: reads the clock.
    if noted == 0 { unsafe { bpf_ktime_get_ns() } } else { noted }
}

/// What happens with the time at which payload passes, in either direction.
#[inline(always)]
fn payload_passed(socket: *mut bpf_sock, connection: &mut Connection, segment: &Segment, now_ns: u64) {
    if connection.first_byte_ns == 0 && segment.payload > 0 {
        connection.first_byte_ns = now_ns;
    }
    // Of two packets on two CPUs either may come first.
    if now_ns.wrapping_sub(connection.rtt_ns).cast_signed() >= RTT_INTERVAL_NS {
        connection.rtt_ns = now_ns;
        sample_rtt(socket, connection);
    }
}

/// The connection that a packet belongs to, if it is one of the target that the program is attached for.
#[inline(always)]
fn connection(skb: *mut __sk_buff) -> Option<(*mut bpf_sock, &'static mut Connection)> {
    // SAFETY: a field of the program's context.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return None;
    }
    let target = sockets::target();
    // SAFETY: the context's socket, not null.
    let connection = match unsafe { sockets::connection(socket.cast()) } {
        Some(connection) => connection,
        None => adopt(skb, socket, target)?,
    };
    // Cgroups nest, and so may targets: the innermost one has the connection.
    if connection.peer.target != target {
        return None;
    }
    if connection.flags & BASED == 0 && connection.stage != CONNECTING {
        base(socket, connection)?;
    }
    Some((socket, connection))
}

/// Takes in a connection that was open before the programs were attached. A function of its own: its frame of the
/// stack is not that of every packet.
#[inline(never)]
fn adopt(skb: *mut __sk_buff, socket: *mut bpf_sock, target: u32) -> Option<&'static mut Connection> {
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
        let connection = sockets::make_connection(socket.cast(), &mut initial)?;
        let totals = peers::totals(&mut connection.peer)?;
        add(&raw mut (*totals).preexisting, 1);
        Some(connection)
    }
}

/// Finds out where an adopted connection stands: its bytes count from here on.
#[inline(always)]
fn base(socket: *mut bpf_sock, connection: &mut Connection) -> Option<()> {
    // SAFETY: the context's socket, not null; each helper checks what it is given.
    unsafe {
        let tcp = bpf_tcp_sock(socket);
        if tcp.is_null() {
            return None;
        }
        connection.sent_base = (*tcp).snd_nxt;
        connection.received_base = (*tcp).rcv_nxt;
        connection.retransmitted_base = (*tcp).total_retrans;
    }
    connection.flags |= BASED;
    Some(())
}

/// At most once a second, so that its frame of the stack need not be that of every packet.
#[inline(never)]
fn sample_rtt(socket: *mut bpf_sock, connection: &mut Connection) {
    try_sample_rtt(socket, connection);
}

#[inline(always)]
fn try_sample_rtt(socket: *mut bpf_sock, connection: &mut Connection) -> Option<()> {
    // SAFETY: the context's socket, not null; `totals` is a value of the map of peers.
    unsafe {
        let tcp = bpf_tcp_sock(socket);
        if tcp.is_null() || (*tcp).srtt_us == 0 {
            return None;
        }
        // The kernel keeps eight times the microseconds (include/linux/tcp.h).
        let rtt_ns = u64::from((*tcp).srtt_us >> 3) * 1000;
        let totals = peers::totals(&mut connection.peer)?;
        peers::observe(&raw mut (*totals).rtt, &SHORT_NS, rtt_ns);
    }
    Some(())
}

/// What is needed of a TCP segment's head.
struct Segment {
    sequence: u32,
    flags: u8,
    /// Where the payload begins in the packet.
    offset: u32,
    /// Bytes of payload, of all segments that offloading has put together.
    payload: u32,
}

/// Reads the IP and TCP headers, which are always in the packet's linear part.
#[inline(always)]
fn segment(skb: *mut __sk_buff) -> Option<Segment> {
    // SAFETY: fields of the program's context; each load is behind a comparison with the end of the data.
    unsafe {
        let (start, end) = ((*skb).data as usize, (*skb).data_end as usize);
        if start + 20 > end {
            return None;
        }
        let first = *(start as *const u8);
        let (protocol, offset) = match first >> 4 {
            4 => (*((start + 9) as *const u8), usize::from(first & 0xf) * 4),
            6 => transport_of_ipv6(start, end)?,
            _ => return None,
        };
        let header = start + offset;
        if u32::from(protocol) != TCP || header + 20 > end {
            return None;
        }
        let sequence = u32::from_be(*((header + 4) as *const u32));
        let header_length = u32::from(*((header + 12) as *const u8) >> 4) * 4;
        let flags = *((header + 13) as *const u8);
        // The packet's own length and not that of the IP header, which is 0 in packets over 64 KiB.
        let offset = offset as u32 + header_length;
        let payload = (*skb).len.checked_sub(offset)?;
        Some(Segment { sequence, flags, offset, payload })
    }
}

/// Protocol and offset behind the extension headers of IPv6 (RFC 8200 section 4), of which TCP has few.
///
/// # Safety
/// `start` and `end` are the bounds of the packet's data.
#[inline(always)]
unsafe fn transport_of_ipv6(start: usize, end: usize) -> Option<(u8, usize)> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const DESTINATION: u8 = 60;
    const MOST: usize = 3;
    if start + 40 > end {
        return None;
    }
    let mut offset = 40;
    // SAFETY: the caller's; each load is behind a comparison with the end of the data.
    unsafe {
        let mut protocol = *((start + 6) as *const u8);
        for _ in 0..MOST {
            if !matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION) {
                break;
            }
            let header = start + offset;
            if header + 8 > end {
                return None;
            }
            protocol = *(header as *const u8);
            offset += (usize::from(*((header + 1) as *const u8)) + 1) * 8;
        }
        Some((protocol, offset))
    }
}
