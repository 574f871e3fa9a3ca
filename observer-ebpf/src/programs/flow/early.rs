//! The first bytes of a connection that come before its socket is made: with the SYN (TCP Fast Open, RFC 7413), or with the
//! acknowledgement that ends the handshake, where the one before it was lost or the listener waits for data.
//!
//! The kernel shows their packet to the programs of the listener's cgroup and makes the socket within the same interrupt, so
//! what is made of them waits in a cell of the CPU, whatever their length.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    cty::c_void,
    helpers::bpf_get_smp_processor_id,
};
use observer_ebpf::{
    flow::{Carries, Connection, Followed, connection::OPEN, followed::Identity},
    framer::{REQUEST, RESPONSE},
    records::peer::{Direction, PeerKey},
};

use super::{STALL_NS, Segment, addresses::is_listener, detection, follow};
use crate::{functions, packet, storage};

/// Tells whether payload came to a listener, and makes of it what it is; a function of its own, because that is rare.
#[inline(never)]
pub(crate) fn came(skb: *mut __sk_buff, socket: *mut bpf_sock, segment: &Segment, now_ns: u64) -> u32 {
    if !is_listener(socket) {
        return 0;
    }
    let Some(early) = storage::early() else { return 0 };
    // SAFETY: a valid cell of this CPU, which only this interrupt uses.
    unsafe {
        (*early).length = 0;
        let target = storage::target();
        (*early).connection = Connection::new(PeerKey::shared(target, Direction::Inbound), OPEN, now_ns);
        (*early).connection.client_at = segment.sequence;
        let told =
            detection::told(skb, &mut (*early).connection, segment.sequence, segment.offset, segment.payload);
        (*early).sequence = segment.sequence;
        (*early).target = target;
        (*early).now_ns = now_ns;
        (*early).protocol = detection::carried_by(told.unwrap_or(0)).into();
        (*early).length = segment.payload;
        if (*early).protocol == Carries::Http as u32 {
            clear(&raw mut (*early).followed);
            let client_at = (*early).connection.client_at;
            (*early).followed.begin([client_at, 0], false);
            // No cookie has this bit.
            let cpu = u64::from(bpf_get_smp_processor_id() & 63);
            let identity =
                Identity { id: 1 << 63 | now_ns << 6 | cpu, stall_ns: STALL_NS.load(), calls_itself: false };
            (*early).followed.identify(&(*early).connection, identity);
            return 1;
        }
    }
    0
}

/// Frames what [`came`] found to be HTTP.
#[inline(always)]
pub(crate) fn frame(skb: *mut __sk_buff, segment: &Segment, now_ns: u64) {
    let positions = functions::positions(segment.sequence, segment.payload);
    functions::packet_segment(skb, positions, segment.offset | packet::EARLY, REQUEST, now_ns);
}

/// Makes all of it zero, a word at a time: it is too large for the compiler's way.
///
/// # Safety
/// `followed` points into a map's value.
#[inline(always)]
unsafe fn clear(followed: *mut Followed) {
    const WORDS: usize = size_of::<Followed>() / 8;
    let words = followed.cast::<u64>();
    let mut index = 0;
    while index < WORDS {
        // SAFETY: the caller's; the index is inside.
        unsafe { words.add(index).write_volatile(0) };
        index += 1;
    }
}

/// Gives a new connection, whose first byte has the sequence number `next` and which sends `sends` next, what came early for it.
///
/// # Safety
/// `socket` is a socket pointer of the program's context, not null.
#[inline(always)]
pub(crate) unsafe fn accepted(socket: *mut c_void, connection: &mut Connection, next: u32, sends: u32) {
    let Some(early) = storage::early() else { return };
    // SAFETY: a valid cell of this CPU; the helper copies it.
    unsafe {
        if (*early).length == 0 {
            return;
        }
        let length = (*early).length;
        (*early).length = 0;
        if (*early).sequence != next || (*early).target != connection.peer.target {
            return;
        }
        connection.first_byte_ns = (*early).now_ns;
        connection.received_highest = next.wrapping_add(length);
        connection.client_at = (*early).connection.client_at;
        connection.start_length = (*early).connection.start_length;
        connection.start = (*early).connection.start;
        connection.protocol = (*early).protocol as u8;
        if connection.protocol != Carries::Http as u8 || (*early).followed.http.over != 0 {
            if connection.protocol == Carries::Http as u8 {
                connection.protocol = Carries::Unknown as u8;
            }
            return;
        }
        let order = &mut (*early).followed.orders[RESPONSE as usize];
        (order.next, order.long_way, order.highest) = (sends, sends, sends);
        // The next segment is to go the long way.
        (*early).followed.http.long_way = ((*early).now_ns >> 20) as u16 ^ 0x8000;
        connection.unidentified = 1;
        follow(socket, connection, &raw mut (*early).followed);
    }
}
