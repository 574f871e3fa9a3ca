//! Has the first bytes of a connection told apart, and begins to follow it where they are HTTP's.
//! No state of a protocol exists before; what is too short to tell is held with the connection.

use core::ptr;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    btf_maps::PerCpuArray,
    helpers::bpf_skb_load_bytes,
    macros::btf_map,
};
use observer_ebpf::{
    detector::{self, PROXY_HEADER_BYTES, PROXY_LINE_BYTES, START, Verdict},
    flow::{Carries, Connection, connection::PREEXISTING},
    framer::{REQUEST, RESPONSE},
    records::l7::Protocol,
};

use super::{Segment, follow, identify};
use crate::output;

/// Room for a line of the PROXY protocol, a power of two.
const LINE_ROOM: usize = 128;

/// A line of the PROXY protocol that is searched for its end.
#[btf_map]
static PROXY_LINE: PerCpuArray<[u8; LINE_ROOM], 1> = PerCpuArray::new();

/// Looks at a segment of a connection that is undecided. 1 if it is decided now and the segment is to be taken as one of what
/// it carries; 0 if the segment is done with. A function of its own: its frame of the stack is not that of every packet.
#[inline(never)]
pub(super) fn detect(
    skb: *mut __sk_buff,
    socket: *mut bpf_sock,
    connection: &mut Connection,
    outgoing: bool,
    segment: &Segment,
) -> u32 {
    let preexisting = connection.flags & PREEXISTING != 0;
    let client = connection.side(outgoing) == REQUEST;
    if !client {
        return server(skb, socket, connection, segment, preexisting);
    }
    if preexisting {
        // Any segment may be the first that begins with a message.
        (connection.client_at, connection.start_length) = (segment.sequence, 0);
        connection.start = [0; START / 8];
    }
    let before = u32::from(connection.start_length);
    let Some(told) = told(skb, connection, segment.sequence, segment.offset, segment.payload) else {
        return 0;
    };
    let verdict = told & 0xff;
    if verdict == Verdict::Undecided as u32 {
        if preexisting {
            output::count_bytes(Protocol::Unknown, segment.payload);
        }
        return 0;
    }
    if verdict == Verdict::Http1 as u32 {
        let held = if connection.start_length == 0 { 0 } else { before };
        let at_hand = preexisting.then_some((REQUEST, segment.sequence));
        return begin(skb, socket, connection, held, at_hand);
    }
    if preexisting {
        // What lies in the middle of a connection tells HTTP's messages, and nothing else for certain.
        connection.start_length = 0;
        output::count_bytes(Protocol::Unknown, segment.payload);
        return 0;
    }
    connection.protocol = carried_by(told);
    1
}

/// Looks at bytes of the server. Before a request there are none of HTTP but for an error that nobody asked for; and a stream
/// that is older than the agent is told by its chunks.
#[inline(always)]
fn server(
    skb: *mut __sk_buff,
    socket: *mut bpf_sock,
    connection: &mut Connection,
    segment: &Segment,
    preexisting: bool,
) -> u32 {
    let mut start = [0_u64; LOADED / 8];
    let Some(available) = load(skb, &mut start, segment.offset, segment.payload) else { return 0 };
    let start = [start[0], start[1], start[2]];
    if preexisting {
        if detector::server_streams(start, available) {
            return begin(skb, socket, connection, 0, Some((RESPONSE, segment.sequence)));
        }
        output::count_bytes(Protocol::Unknown, segment.payload);
        return 0;
    }
    if detector::server_speaks_http(start, available) {
        output::count_bytes(Protocol::Http, segment.payload);
        return 0;
    }
    connection.protocol = Carries::Unknown as u8;
    1
}

/// Room for first bytes: a power of two.
const LOADED: usize = 32;

/// Loads up to [`START`] bytes; how many.
#[inline(always)]
fn load(skb: *mut __sk_buff, to: &mut [u64; LOADED / 8], offset: u32, length: u32) -> Option<u32> {
    let length = if length > START as u32 { START as u32 } else { length };
    // The verifier sees 1..=32 by the mask.
    let length = (length.wrapping_sub(1) & 31) + 1;
    // SAFETY: there is room for the most that is loaded.
    let loaded = unsafe { bpf_skb_load_bytes(skb.cast(), offset, to.as_mut_ptr().cast(), length) == 0 };
    loaded.then_some(length)
}

/// What [`told`] tells of what is none that is known here.
const UNKNOWN: u32 = Verdict::Unknown as u32 | (Carries::Unknown as u32) << 8;

/// Adds a segment of the client to its first bytes, and tells what they are; `None` where the segment is done with. What comes
/// ahead is noted, and a PROXY header passed over.
#[inline(always)]
pub(super) fn told(
    skb: *mut __sk_buff,
    connection: &mut Connection,
    sequence: u32,
    offset: u32,
    length: u32,
) -> Option<u32> {
    let mut headers = 0;
    loop {
        let held = u32::from(connection.start_length) & 31;
        let seen = connection.client_at.wrapping_add(held).wrapping_sub(sequence);
        if seen.cast_signed() < 0 {
            connection.client_ahead(sequence, length);
            return None;
        }
        if seen >= length {
            return None;
        }
        let room = START as u32 - if held > START as u32 { START as u32 } else { held };
        let rest = length - seen;
        let wanted = if rest > room { room } else { rest };
        if wanted == 0 {
            return Some(UNKNOWN);
        }
        let mut more = [0_u64; LOADED / 8];
        let available = held + load(skb, &mut more, offset.wrapping_add(seen), wanted)?;
        connection.add_start(held, [more[0], more[1], more[2]]);
        connection.start_length = available as u8;
        let start = connection.start;
        let known = u64::from(available) << 16 | u64::from(port(connection, skb));
        let told = flow_verdict(start[0], start[1], start[2], known);
        let verdict = told & 0xff;
        let header = if verdict == Verdict::ProxyLine as u32 && held == 0 {
            flow_proxy_line(skb, offset.wrapping_add(seen), rest)
        } else if verdict == Verdict::ProxyHeader as u32 && held == 0 {
            PROXY_HEADER_BYTES + u32::from(((start[1] >> 48) as u16).swap_bytes())
        } else {
            return Some(told);
        };
        headers += 1;
        if header == 0 || headers > 1 {
            return Some(UNKNOWN);
        }
        connection.client_at = sequence.wrapping_add(seen).wrapping_add(header);
        connection.start_length = 0;
        connection.start = [0; START / 8];
    }
}

/// The server's port.
#[inline(always)]
fn port(connection: &Connection, skb: *mut __sk_buff) -> u16 {
    if connection.is_inbound() {
        // SAFETY: a field of the program's context, in host byte order.
        unsafe { (*skb).local_port as u16 }
    } else {
        connection.peer.port
    }
}

/// What a connection carries by what [`told`] has told.
#[inline(always)]
pub(super) const fn carried_by(told: u32) -> u8 {
    (told >> 8) as u8
}

/// What a connection carries by its verdict.
#[inline(always)]
const fn carries(verdict: Verdict) -> Carries {
    match verdict {
        Verdict::Undecided => Carries::Undecided,
        Verdict::Http1 => Carries::Http,
        Verdict::Tls => Carries::Tls,
        Verdict::Redis => Carries::Redis,
        Verdict::Postgresql => Carries::Postgresql,
        Verdict::Dns => Carries::Dns,
        Verdict::Http2 | Verdict::ProxyLine | Verdict::ProxyHeader | Verdict::Unknown => Carries::Unknown,
    }
}

/// [`detector::client`], as a function that the verifier looks at by itself; `known` is how many bytes there are, and the port
/// in its lower 16 bits. The verdict, and in the second byte what the connection carries by it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_verdict(first: u64, second: u64, third: u64, known: u64) -> u32 {
    let verdict = detector::client([first, second, third], (known >> 16) as u32, known as u16);
    verdict as u32 | (carries(verdict) as u32) << 8
}

/// Bytes of a line of the PROXY protocol that begins at `offset` of the packet, 0 if it does not end in time. By itself likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_proxy_line(skb: *mut __sk_buff, offset: u32, length: u32) -> u32 {
    let Some(line) = PROXY_LINE.get_ptr_mut(0) else { return 0 };
    let most = if length > PROXY_LINE_BYTES { PROXY_LINE_BYTES } else { length };
    let most = (most.wrapping_sub(1) & (LINE_ROOM as u32 - 1)) + 1;
    // SAFETY: a valid cell of this CPU with room for the most that is loaded.
    unsafe {
        if bpf_skb_load_bytes(skb.cast(), offset, line.cast(), most) != 0 {
            return 0;
        }
        let mut index = 0;
        while index < PROXY_LINE_BYTES {
            if index >= most {
                break;
            }
            if ptr::read_volatile(line.cast::<u8>().add((index & (LINE_ROOM as u32 - 1)) as usize)) == b'\n' {
                return index + 1;
            }
            index += 1;
        }
    }
    0
}

/// Begins to follow a connection of whose client `held` bytes are held; of one that is older than the agent, with the segment
/// `at_hand`, by side and sequence number.
#[inline(always)]
fn begin(
    skb: *mut __sk_buff,
    socket: *mut bpf_sock,
    connection: &mut Connection,
    held: u32,
    at_hand: Option<(u32, u32)>,
) -> u32 {
    // SAFETY: the context's socket, not null.
    let Some(followed) = (unsafe { follow(socket.cast(), connection, ptr::null_mut()) }) else { return 1 };
    // What was sent before now is known by its count, what was received by the highest byte that came.
    let sent = connection.sent_base.wrapping_add(connection.sent as u32);
    let (request, response) = if connection.is_inbound() {
        (connection.received_highest, sent)
    } else {
        (sent, connection.received_highest)
    };
    // The segment at hand is counted already, and is to be framed.
    let (request, response) = match at_hand {
        Some((REQUEST, sequence)) => (sequence, response),
        Some((_, sequence)) => (request, sequence),
        None => (connection.client_at.wrapping_add(held), response),
    };
    // SAFETY: the storage lives as long as its socket, which the running program holds.
    unsafe {
        identify(skb, socket, connection, followed);
        (*followed).begin([request, response], at_hand.is_some());
        if at_hand.is_none() {
            (*followed).take_start(connection, held);
        }
    }
    1
}
