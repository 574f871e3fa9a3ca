//! A target's packets: reads their headers, and hands their segments on.
//! What the kernel would not take of what came in is left out here: it has the last word about bytes and ends.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::{bpf_ktime_get_ns, bpf_skc_to_tcp_sock, bpf_tcp_sock},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use observer_ebpf::{
    flow::{Connection, connection::CONNECTING},
    records::histogram::SHORT_NS,
};

use crate::{
    flow::{self, Segment, addresses::TCP, early},
    functions,
    offsets::{TCP_RCV_NXT, TCP_RCV_WND, TCP_RCV_WUP, member},
    peers,
};

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
    let (mut segment, syn) = segment(skb)?;
    // Acknowledgements are half of all packets, and nothing is to be learnt from them.
    if segment.payload == 0 && !segment.fin {
        return None;
    }
    // SAFETY: reads the clock.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if !syn && by_shortcut(skb, &segment, false, now_ns) {
        return Some(());
    }
    let Some((socket, connection)) = flow::connection(skb) else {
        // SAFETY: a field of the program's context.
        let socket = unsafe { (*skb).__bindgen_anon_2.sk };
        if segment.payload > 0 && !socket.is_null() {
            // A SYN has a sequence number of its own.
            segment.sequence = segment.sequence.wrapping_add(u32::from(syn));
            if early::came(skb, socket, &segment, now_ns) != 0 {
                early::frame(skb, &segment, now_ns);
            }
        }
        return None;
    };
    // A handshake that is under way has no positions yet.
    if connection.based == 0 || syn || !is_acceptable(socket, &segment) {
        return None;
    }
    let new = connection.segment_received(segment.sequence, segment.payload);
    if segment.fin {
        connection.peer_fin = segment.sequence.wrapping_add(segment.payload);
        connection.has_peer_fin = 1;
    }
    payload_passed(socket, connection, &segment, now_ns);
    flow::segment(skb, socket, connection, false, &segment, new, now_ns);
    Some(())
}

#[inline(always)]
fn send(skb: *mut __sk_buff) -> Option<()> {
    let (mut segment, syn) = segment(skb)?;
    if segment.payload == 0 && !segment.fin {
        return None;
    }
    let now_ns = departure(skb);
    if !syn && by_shortcut(skb, &segment, true, now_ns) {
        return Some(());
    }
    let (socket, connection) = flow::connection(skb)?;
    if connection.stage == CONNECTING {
        // Data in the SYN (RFC 7413), which has a sequence number of its own.
        segment.sequence = segment.sequence.wrapping_add(1);
        connection.sent_base = segment.sequence;
        connection.client_at = segment.sequence;
    }
    let new = connection.segment_sent(segment.sequence, segment.payload);
    if segment.fin {
        connection.local_fin = 1;
    }
    payload_passed(socket, connection, &segment, now_ns);
    flow::segment(skb, socket, connection, true, &segment, new, now_ns);
    Some(())
}

/// Lets most segments of HTTP be framed with one look-up of a socket's storage. The connection's own state is left behind:
/// its bytes are those that the kernel knows of (`Connection::sent_up_to`, `received_up_to`), and its round-trip time is
/// sampled once a second, when no segment goes this way.
#[inline(always)]
fn by_shortcut(skb: *mut __sk_buff, segment: &Segment, outgoing: bool, now_ns: u64) -> bool {
    if segment.payload == 0 || segment.fin {
        return false;
    }
    let positions = functions::positions(segment.sequence, segment.payload);
    let taken = functions::packet_shortcut(skb, positions, segment.offset, outgoing.into(), now_ns);
    flow::after_shortcut(skb, taken)
}

/// Tells whether TCP may take a segment that came in: it lies in the window (`tcp_sequence`, net/ipv4/tcp_input.c). Anybody who
/// knows the addresses and ports can send others.
#[inline(always)]
fn is_acceptable(socket: *mut bpf_sock, segment: &Segment) -> bool {
    // SAFETY: the context's socket, not null; the helper gives a typed pointer.
    unsafe {
        let tcp = bpf_skc_to_tcp_sock(socket.cast()).cast_const().cast::<u8>();
        if tcp.is_null() {
            return false;
        }
        let (Some(next), Some(update), Some(window)) = (
            member::<u32>(tcp, &TCP_RCV_NXT),
            member::<u32>(tcp, &TCP_RCV_WUP),
            member::<u32>(tcp, &TCP_RCV_WND),
        ) else {
            return true;
        };
        let end = segment.sequence.wrapping_add(segment.payload).wrapping_add(segment.fin.into());
        let edge = update.wrapping_add(window);
        // A window that was withdrawn ends at what was received.
        let edge = if edge.wrapping_sub(next).cast_signed() < 0 { next } else { edge };
        end.wrapping_sub(update).cast_signed() >= 0 && edge.wrapping_sub(segment.sequence).cast_signed() >= 0
    }
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

/// Reads the IP and TCP headers, which are always in the packet's linear part; the segment, and whether it has a SYN.
#[inline(always)]
fn segment(skb: *mut __sk_buff) -> Option<(Segment, bool)> {
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
        Some((Segment { sequence, offset, payload, fin: flags & FIN != 0 }, flags & SYN != 0))
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
