//! Who a connection is, in the kernel: finds and makes its state, has its first bytes told apart, begins and ends what is
//! followed of it, and gives places back.

pub(crate) mod addresses;
mod adoption;
mod detection;
pub(crate) mod early;
pub(crate) mod places;

use aya_ebpf::{
    Global,
    bindings::{__sk_buff, bpf_sock},
    cty::c_void,
    helpers::{bpf_get_smp_processor_id, bpf_get_socket_cookie},
};
use observer_ebpf::{
    flow::{Carries, Connection, Followed, connection::CONNECTING, followed::Identity},
    http1::{life_cycle, shortcut, state::RESPONSE},
    records::{
        exchange::Outcome,
        given_up::{self, Cause},
        l7::Protocol,
        loss::{Kind, Reason},
        peer::CloseReason,
    },
};

use crate::{
    functions::{self, HAS_FIN, NOT_TAKEN, OVER, TAKEN},
    output, storage,
};

/// From when on a gap is a stall, nanoseconds (`streams.stall`).
#[unsafe(no_mangle)]
static STALL_NS: Global<u64> = Global::new(10_000_000_000);

/// A segment as the hooks read it from its packet.
pub(crate) struct Segment {
    /// The sequence number of its first byte of payload.
    pub(crate) sequence: u32,
    /// Where the payload begins in the packet.
    pub(crate) offset: u32,
    /// Bytes of payload, of all segments that offloading has put together.
    pub(crate) payload: u32,
    /// Whether a FIN is behind it.
    pub(crate) fin: bool,
}

/// The connection that a packet belongs to, if it is one of the target that the program is attached for.
#[inline(always)]
pub(crate) fn connection(skb: *mut __sk_buff) -> Option<(*mut bpf_sock, &'static mut Connection)> {
    // SAFETY: a field of the program's context.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return None;
    }
    let target = storage::target();
    // SAFETY: the context's socket, not null.
    let connection = match unsafe { storage::connection(socket.cast()) } {
        Some(connection) => connection,
        None => adoption::adopt(skb, socket, target)?,
    };
    // Cgroups nest, and so may targets: the innermost one has the connection.
    if connection.peer.target != target {
        return None;
    }
    if connection.based == 0 && connection.stage != CONNECTING {
        adoption::base(socket, connection)?;
    }
    Some((socket, connection))
}

/// Gives a socket the state `initial`, and returns it where no other CPU was faster.
///
/// # Safety
/// `socket` is a socket pointer of the program's context that the verifier knows to be not null.
#[inline(always)]
pub(crate) unsafe fn make_connection(
    socket: *mut c_void,
    initial: &mut Connection,
) -> Option<&'static mut Connection> {
    // SAFETY: reads the number of the CPU.
    initial.made_by = unsafe { bpf_get_smp_processor_id() } as u16;
    // SAFETY: the caller's.
    let Some(state) = (unsafe { storage::make_connection(socket, initial) }) else {
        output::lost(Kind::Connection, Reason::MapFull);
        return None;
    };
    (state.made_by == initial.made_by && state.since_ns == initial.since_ns).then_some(state)
}

/// Takes a segment of a connection, of whose bytes `new` have not come before.
#[inline(always)]
pub(crate) fn segment(
    skb: *mut __sk_buff,
    socket: *mut bpf_sock,
    connection: &mut Connection,
    outgoing: bool,
    segment: &Segment,
    new: u32,
    now_ns: u64,
) {
    if connection.protocol == Carries::Undecided as u8 && segment.payload != 0 {
        if detection::detect(skb, socket, connection, outgoing, segment) == 0 {
            return;
        }
    }
    if connection.protocol != Carries::Http as u8 {
        output::count_bytes(carried(connection.protocol), new);
        return;
    }
    if connection.unidentified != 0 {
        identify_late(skb, socket, connection);
    }
    let side = connection.side(outgoing);
    let flags = side | if segment.fin { HAS_FIN } else { 0 };
    let positions = functions::positions(segment.sequence, segment.payload);
    let taken = functions::packet_segment(skb, positions, segment.offset, flags, now_ns);
    if taken == OVER {
        over(socket, connection);
    } else if taken == NOT_TAKEN {
        connection.protocol = Carries::Unknown as u8;
    }
}

/// What the bytes count as of a connection that is not followed.
#[inline(always)]
const fn carried(protocol: u8) -> Protocol {
    const CARRIED: [Protocol; 8] = [
        Protocol::Unknown,
        Protocol::Http,
        Protocol::Unknown,
        Protocol::Tls,
        Protocol::Redis,
        Protocol::Postgresql,
        Protocol::Dns,
        Protocol::Unknown,
    ];
    CARRIED[(protocol & 7) as usize]
}

/// Ends what is followed of a connection whose HTTP is over, while the connection goes on.
#[inline(always)]
pub(crate) fn over(socket: *mut bpf_sock, connection: &mut Connection) {
    connection.protocol = Carries::Unknown as u8;
    // SAFETY: the context's socket, not null.
    unsafe {
        if let Some(followed) = storage::followed(socket.cast()) {
            let cause = (*followed).http.over;
            if u32::from(cause) < given_up::CELLS && cause != Cause::None as u8 {
                output::given_up(cause);
            }
            let http = &mut (*followed).http;
            output::count_losses(http, 0);
            output::count_losses(http, 1);
        }
        forget(socket.cast());
    }
}

/// Deletes what is followed of a socket's connection, and gives its place back: once, whoever else does the same.
///
/// # Safety
/// `socket` is a socket pointer that the verifier knows to be not null.
#[inline(always)]
unsafe fn forget(socket: *mut c_void) {
    // SAFETY: the caller's.
    if unsafe { storage::delete_followed(socket) } {
        places::give();
    }
}

/// Begins to follow a connection: with `initial`, or with zeros where that is null; `None` if there is no room or no memory for
/// it, which is counted.
///
/// # Safety
/// `socket` is a socket pointer that the verifier knows to be not null, `initial` null or a value of a map.
#[inline(always)]
unsafe fn follow(
    socket: *mut c_void,
    connection: &mut Connection,
    initial: *mut Followed,
) -> Option<*mut Followed> {
    let mut followed = None;
    if places::take() {
        // SAFETY: the caller's.
        followed = unsafe { storage::make_followed(socket, initial) };
        if followed.is_none() {
            places::give();
        }
    }
    connection.protocol = if followed.is_some() {
        Carries::Http as u8
    } else {
        output::given_up(Cause::NoRoom as u8);
        Carries::Unfollowed as u8
    };
    followed
}

/// Says whose connection it is that is followed.
///
/// # Safety
/// `socket` is the packet's socket, and `followed` its state.
#[inline(always)]
unsafe fn identify(
    skb: *mut __sk_buff,
    socket: *mut bpf_sock,
    connection: &Connection,
    followed: *mut Followed,
) {
    // SAFETY: the caller's.
    unsafe {
        let identity = Identity {
            id: bpf_get_socket_cookie(skb.cast()),
            stall_ns: STALL_NS.load(),
            calls_itself: addresses::calls_itself(skb, socket, connection.peer.target) != 0,
        };
        (*followed).identify(connection, identity);
    }
}

/// Finds out whether a connection whose first bytes came to the listener is the target's own call; a function of its own,
/// because that is rare.
#[inline(never)]
fn identify_late(skb: *mut __sk_buff, socket: *mut bpf_sock, connection: &mut Connection) -> u32 {
    connection.unidentified = 0;
    // SAFETY: the context's socket, not null.
    unsafe {
        if let Some(followed) = storage::followed(socket.cast())
            && addresses::calls_itself(skb, socket, connection.peer.target) != 0
        {
            (*followed).http.flags = observer_ebpf::records::exchange::SELF_CALL as u8;
        }
    }
    0
}

/// Ends what is followed of a connection that has ended; `reason` is its [`CloseReason`].
///
/// # Safety
/// `socket` is a socket pointer that the verifier knows to be not null.
#[inline(always)]
pub(crate) unsafe fn closed(socket: *mut c_void, connection: &mut Connection, reason: u8, now_ns: u64) {
    if connection.protocol == Carries::Undecided as u8 {
        output::count_bytes(Protocol::Unknown, connection.start_length.into());
    }
    if connection.protocol != Carries::Http as u8 {
        return;
    }
    let by_target = reason == CloseReason::LocalClose as u8 || reason == CloseReason::LocalReset as u8;
    let outcome = if reason == CloseReason::Timeout as u8 {
        Outcome::Timeout
    } else if by_target != connection.is_inbound() {
        Outcome::ClientAbort
    } else if reason == CloseReason::LocalReset as u8 || reason == CloseReason::PeerReset as u8 {
        Outcome::Reset
    } else {
        Outcome::ServerAbort
    };
    // SAFETY: the caller's; the storage lives as long as its socket.
    unsafe {
        let Some(followed) = storage::followed(socket) else { return };
        if let Some(next) = shortcut::settle(&mut (*followed).http) {
            (*followed).orders[RESPONSE as usize].next = next;
        }
        if life_cycle::connection_ends(&mut (*followed).http, outcome, now_ns) {
            output::send(&raw mut (*followed).http, RESPONSE);
        }
        let http = &mut (*followed).http;
        output::count_losses(http, 0);
        output::count_losses(http, 1);
        forget(socket);
    }
    connection.protocol = Carries::Unknown as u8;
}

/// Counts a segment that went by the shortcut and with which HTTP came to an end.
#[inline(always)]
pub(crate) fn after_shortcut(skb: *mut __sk_buff, taken: u32) -> bool {
    if taken == OVER
        && let Some((socket, connection)) = connection(skb)
    {
        over(socket, connection);
    }
    taken == TAKEN || taken == OVER
}
