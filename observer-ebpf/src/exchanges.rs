//! HTTP on a target's connections: feeds the framer with packets, and sends what it yields to the agent.
//! The framer's state lies beside the connection's on the socket.

use core::ptr;

use aya_ebpf::{
    Global,
    bindings::{
        __sk_buff, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_SK_STORAGE_GET_F_CREATE,
    },
    btf_maps::{PerCpuArray, RingBuf, SkStorage},
    cty::c_void,
    helpers::{
        bpf_get_socket_cookie, bpf_ringbuf_output, bpf_ringbuf_query, bpf_skb_load_bytes,
        generated::bpf_sk_storage_get,
    },
    macros::btf_map,
};
use observer_ebpf::{
    connection::{Connection, PREEXISTING},
    http::{
        end,
        exchange::{Exchange, Outcome, SELF_CALL},
        shortcut::{self, START},
        state::{Http, LOST, NO_REQUEST, REQUEST, RESPONSE, SEND_AHEAD, SEND_EXCHANGE, Stage, owner},
    },
    l7::{CELLS, Protocol},
    lost::{Kind, Reason},
    peer::{CloseReason, Direction},
};

use crate::{count::lost, early, ends, framer, places};

/// The framer's state of each connection of a target that has carried payload.
#[btf_map]
static HTTP: SkStorage<Http> = SkStorage::new();

/// Exchanges and requests ahead; sized by the agent (`limits.exchange_ring_bytes`).
#[btf_map]
static EXCHANGES: RingBuf<Exchange, 4_194_304> = RingBuf::new();

/// Payload bytes by [`Protocol`].
#[btf_map]
static L7_BYTES: PerCpuArray<u64, { CELLS as usize }> = PerCpuArray::new();

/// From when on a gap is a stall, nanoseconds (`streams.stall`).
#[unsafe(no_mangle)]
static STALL_NS: Global<u64> = Global::new(10_000_000_000);

/// Unread bytes of the ring past which the agent is woken: it looks by itself every second.
#[unsafe(no_mangle)]
static WAKE_BYTES: Global<u64> = Global::new(256 * 1024);

/// The framer's state of a socket's connection.
///
/// # Safety
/// `socket` is a socket pointer that the verifier knows to be not null.
#[inline(always)]
pub(crate) unsafe fn state(socket: *mut c_void) -> Option<*mut Http> {
    // SAFETY: the caller's; without the flag to create, the helper only looks up.
    let state = unsafe { bpf_sk_storage_get(map(), socket, ptr::null_mut(), 0) };
    if state.is_null() { None } else { Some(state.cast()) }
}

#[inline(always)]
fn map() -> *mut c_void {
    ptr::from_ref(&HTTP).cast_mut().cast()
}

/// Takes a packet's payload: `length` bytes at `payload` of the packet, `sequence` the first of them.
///
/// # Safety
/// `socket` is the packet's socket and not null, `connection` its state.
#[inline(always)]
pub(crate) unsafe fn segment(
    skb: *mut __sk_buff,
    socket: *mut c_void,
    connection: &mut Connection,
    outgoing: bool,
    (sequence, payload, length): (u32, u32, u32),
    now_ns: u64,
) {
    let side = side(connection, outgoing);
    let (positions, place) = framer::packed(sequence, length, payload, side);
    if framer::http_segment(skb, positions, place, now_ns) != 0 {
        return;
    }
    if make(skb, socket, connection, outgoing, sequence) != 0 {
        framer::http_segment(skb, positions, place, now_ns);
    }
}

/// Takes a segment of a stream by the shortcut; 0 if it is the framer's. A function of its own: its frame of the stack is
/// not that of the framer.
#[inline(never)]
pub(crate) fn by_shortcut(
    skb: *mut __sk_buff,
    http: *mut Http,
    payload: u32,
    length: u32,
    now_ns: u64,
) -> u32 {
    let mut start = [0_u64; START / 8];
    let most = if length > START as u32 { START as u32 } else { length };
    // The verifier sees 1..=START by the mask.
    let most = (most.wrapping_sub(1) & (START as u32 - 1)) + 1;
    // SAFETY: `start` has room for the most that is loaded; the storage lives as long as its socket, which the running
    // program holds.
    unsafe {
        if bpf_skb_load_bytes(skb.cast(), payload, start.as_mut_ptr().cast(), most) != 0
            || !shortcut::take(&mut (*http).shortcut, start, length, now_ns, STALL_NS.load())
        {
            return 0;
        }
        let protocol = if (*http).upgraded != 0 { Protocol::WebSocket } else { Protocol::Http };
        count_bytes(protocol, length);
    }
    1
}

#[inline(always)]
fn count_bytes(protocol: Protocol, length: u32) {
    if let Some(bytes) = L7_BYTES.get_ptr_mut(protocol as u32) {
        // SAFETY: a valid cell of this CPU.
        unsafe { *bytes += u64::from(length) };
    }
}

/// Counts what became of a segment of `length` bytes.
///
/// # Safety
/// `http` is a storage value of a socket that the running program holds.
#[inline(always)]
pub(crate) unsafe fn taken(http: *mut Http, side: u32, length: u32) {
    // SAFETY: the caller's.
    unsafe {
        count_loss(http, side);
        count_bytes((*http).protocol(side), length);
    }
}

/// Which half outgoing or incoming bytes of the connection belong to.
#[inline(always)]
fn side(connection: &Connection, outgoing: bool) -> u32 {
    let accepted = connection.peer.direction == Direction::Inbound as u8;
    if accepted == outgoing { RESPONSE } else { REQUEST }
}

/// Makes the state of a connection that has none yet; 0 if there is no room or no memory for it, which counts once. A
/// function of its own: its frame of the stack is not that of every packet.
#[inline(never)]
fn make(
    skb: *mut __sk_buff,
    socket: *mut c_void,
    connection: &mut Connection,
    outgoing: bool,
    sequence: u32,
) -> u32 {
    if connection.unfollowed != 0 {
        return 0;
    }
    let mut made: *mut Http = ptr::null_mut();
    if places::take() {
        // SAFETY: the caller's socket; without a value the storage is made of zeros.
        made =
            unsafe { bpf_sk_storage_get(map(), socket, ptr::null_mut(), BPF_SK_STORAGE_GET_F_CREATE.into()) }
                .cast();
        if made.is_null() {
            places::give();
        }
    }
    if made.is_null() {
        connection.unfollowed = 1;
        lost(Kind::Exchange, Reason::MapFull);
        return 0;
    }
    let (incoming_side, outgoing_side) = (side(connection, false), side(connection, true));
    // SAFETY: the storage lives as long as its socket, which the running program holds.
    unsafe {
        let http = &mut *made;
        http.exchange.target = connection.peer.target;
        http.exchange.index = NO_REQUEST;
        http.exchange.direction = connection.peer.direction;
        let serves = connection.peer.direction == Direction::Inbound as u8;
        http.owner = owner(connection.peer.target, serves);
        // Zero of an inbound connection, like all of its peer.
        http.exchange.port = connection.peer.port;
        http.exchange.id = bpf_get_socket_cookie(skb.cast());
        http.stall_ns = STALL_NS.load();
        if ends::calls_itself(skb, socket.cast(), connection.peer.target) != 0 {
            http.flags = SELF_CALL as u8;
        }
        if let Some(early) = early::early(skb) {
            http.early = early.length as u16;
        }
        http.halves[(incoming_side & 1) as usize].next = connection.received_base;
        http.halves[(outgoing_side & 1) as usize].next = connection.sent_base;
        if connection.flags & PREEXISTING != 0 {
            http.preexisting = 1;
            http.halves[0].stage = Stage::Resync as u8;
            http.halves[1].stage = Stage::Resync as u8;
            http.halves[(side(connection, outgoing) & 1) as usize].next = sequence;
        }
    }
    1
}

/// The side's FIN passed.
///
/// # Safety
/// As for [`segment`].
#[inline(always)]
pub(crate) unsafe fn fin(socket: *mut c_void, connection: &Connection, outgoing: bool, now_ns: u64) {
    // SAFETY: the caller's; the storage lives as long as its socket.
    unsafe {
        if let Some(http) = state(socket)
            && end::fin(&mut *http, side(connection, outgoing), now_ns)
        {
            send(http, RESPONSE);
        }
    }
}

/// The connection ended, `reason` is its [`CloseReason`].
///
/// # Safety
/// As for [`segment`].
#[inline(always)]
pub(crate) unsafe fn closed(socket: *mut c_void, connection: &Connection, reason: u8, now_ns: u64) {
    let accepted = connection.peer.direction == Direction::Inbound as u8;
    let by_target = reason == CloseReason::LocalClose as u8 || reason == CloseReason::LocalReset as u8;
    let outcome = if reason == CloseReason::Timeout as u8 {
        Outcome::Timeout
    } else if by_target != accepted {
        Outcome::ClientAbort
    } else if reason == CloseReason::LocalReset as u8 || reason == CloseReason::PeerReset as u8 {
        Outcome::Reset
    } else {
        Outcome::ServerAbort
    };
    // SAFETY: the caller's; the storage lives as long as its socket.
    unsafe {
        if let Some(http) = state(socket) {
            places::give();
            if end::closed(&mut *http, outcome, now_ns) {
                send(http, RESPONSE);
            }
        }
    }
}

/// Sends what the half has ready.
///
/// # Safety
/// `http` is a storage value of a socket that the running program holds.
#[inline(always)]
pub(crate) unsafe fn send(http: *mut Http, side: u32) {
    // SAFETY: the caller's.
    unsafe {
        let half = &raw mut (*http).halves[(side & 1) as usize];
        let send = (*half).send;
        (*half).send = 0;
        if send & SEND_AHEAD != 0 {
            output((&raw const (*http).ahead).cast(), size_of_val(&(*http).ahead) as u64, 0);
        }
        if send & SEND_EXCHANGE != 0 {
            let exchange = &raw const (*http).exchange;
            output(exchange.cast(), u64::from((*http).exchange_bytes()), (*exchange).index);
            (*http).exchange_sent();
        }
    }
}

/// Whether the agent is to be woken is asked with every eighth exchange of a connection, by its `index`: of the ring the
/// answer uses a sixteenth.
///
/// # Safety
/// `record` points to `length` bytes of a map's value.
#[inline(always)]
unsafe fn output(record: *const c_void, length: u64, index: u32) {
    let ring = ptr::from_ref(&EXCHANGES).cast_mut().cast();
    // SAFETY: the caller's.
    unsafe {
        let wakes =
            index.is_multiple_of(8) && bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA.into()) > WAKE_BYTES.load();
        let wake = if wakes { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
        if bpf_ringbuf_output(ring, record.cast_mut(), length, wake.into()) != 0 {
            lost(Kind::Exchange, Reason::RingFull);
        }
    }
}

/// # Safety
/// As for [`send`].
#[inline(always)]
unsafe fn count_loss(http: *mut Http, side: u32) {
    // SAFETY: the caller's.
    let half = unsafe { &mut (*http).halves[(side & 1) as usize] };
    if half.flags & LOST != 0 {
        half.flags &= !LOST;
        lost(Kind::Exchange, Reason::Unparsed);
    }
}
