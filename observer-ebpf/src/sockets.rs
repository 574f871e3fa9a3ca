//! A connection's life: attempt, opening, the changes of its TCP state, its end; and the walk over open ones.
//! Its state lives in the socket's storage, made here and freed with the socket.

use core::ptr;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_SK_STORAGE_GET_F_CREATE, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock_ops,
        seq_file,
    },
    btf_maps::{self, SkStorage},
    cty::c_void,
    helpers::{
        bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_seq_write, bpf_skc_to_tcp_sock,
        generated::bpf_sk_storage_get,
    },
    macros::{btf_map, btf_tracepoint, sock_ops},
    programs::{BtfTracePointContext, SockOpsContext},
};
use aya_log_ebpf::debug;
use observer_ebpf::{
    connection::{
        BASED, CLOSED, CONNECTING, Connection, OPEN, OpenConnection, PREEXISTING, fail_reason, peer_key,
        state,
    },
    histogram::{LONG_NS, SHORT_NS},
    lost::{Kind, Reason},
    peer::{CLOSE_REASONS, Direction, FAIL_REASONS, PeerKey},
};

use crate::{
    count::{add, lost},
    early, exchanges,
    offsets::{SOCK_ERR, TCP_RCV_NXT, TCP_SND_NXT, TCP_TOTAL_RETRANS, member},
    peers,
};

/// The state of each connection of a target.
#[btf_map]
static CONNECTIONS: SkStorage<Connection> = SkStorage::new();

/// The number of the target that a program runs for, by the cgroup that the program is attached to: a process in
/// any descendant of that cgroup belongs to the target. 0 until the agent has written it.
#[btf_map]
#[expect(
    deprecated,
    reason = "its successor, cgroup local storage, came with Linux 6.2 and knows no attach point"
)]
static TARGETS: btf_maps::CgroupStorage<u32> = btf_maps::CgroupStorage::new();

/// The number of the target that the running cgroup program is attached to.
#[inline(always)]
pub(crate) fn target() -> u32 {
    // SAFETY: the helper returns the storage of the program's own attachment, which lives as long as that.
    unsafe { *TARGETS.get_ptr_mut() }
}

/// The state of a socket's connection.
///
/// # Safety
/// `socket` is a socket pointer of the program's context or argument that the verifier knows to be not null.
#[inline(always)]
pub(crate) unsafe fn connection(socket: *mut c_void) -> Option<&'static mut Connection> {
    // SAFETY: the caller's; without the flag to create, the helper only looks up.
    let state = unsafe { bpf_sk_storage_get(map(), socket, ptr::null_mut(), 0) };
    // SAFETY: the storage lives as long as its socket, which the running program holds.
    unsafe { state.cast::<Connection>().as_mut() }
}

/// Gives a socket the state `initial`, and returns it where no other CPU was faster.
///
/// # Safety
/// As for [`connection`].
#[inline(always)]
pub(crate) unsafe fn make_connection(
    socket: *mut c_void,
    initial: &mut Connection,
) -> Option<&'static mut Connection> {
    // SAFETY: reads the number of the CPU.
    initial.made_by = unsafe { bpf_get_smp_processor_id() };
    let value = ptr::from_mut(initial).cast();
    // SAFETY: the caller's; `value` is copied.
    let state = unsafe { bpf_sk_storage_get(map(), socket, value, BPF_SK_STORAGE_GET_F_CREATE.into()) };
    // SAFETY: as in `connection`.
    let Some(state) = (unsafe { state.cast::<Connection>().as_mut() }) else {
        lost(Kind::Connection, Reason::MapFull);
        return None;
    };
    (state.made_by == initial.made_by && state.since_ns == initial.since_ns).then_some(state)
}

#[inline(always)]
fn map() -> *mut c_void {
    ptr::from_ref(&CONNECTIONS).cast_mut().cast()
}

/// Attempts, openings and changes of state.
#[sock_ops]
fn socket_events(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(&ctx),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(&ctx, Direction::Outbound),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => established(&ctx, Direction::Inbound),
        BPF_SOCK_OPS_STATE_CB => state_by_sock_ops(&ctx),
        _ => None,
    };
    1
}

/// A SYN is about to go out. The socket may have been connected before.
#[inline(always)]
fn connecting(ctx: &SockOpsContext) -> Option<()> {
    let socket = socket(ctx)?;
    let target = target();
    if target == 0 {
        return None;
    }
    // SAFETY: reads the clock.
    let mut initial =
        Connection::new(remote(ctx, target, Direction::Outbound), CONNECTING, unsafe { bpf_ktime_get_ns() });
    // SAFETY: `socket` is the context's and not null.
    if let Some(connection) = unsafe { connection(socket) } {
        // Innermost target first: it is the first whose program runs.
        if connection.stage == CLOSED {
            *connection = initial;
        }
    } else {
        // SAFETY: as above.
        unsafe { make_connection(socket, &mut initial)? };
    }
    ask_for_states(ctx);
    Some(())
}

/// Has the kernel tell of the connection's changes of state, beside what other programs have asked it to tell of.
#[inline(always)]
fn ask_for_states(ctx: &SockOpsContext) {
    let _refused_flags = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG).cast_signed());
}

#[inline(always)]
fn established(ctx: &SockOpsContext, direction: Direction) -> Option<()> {
    let socket = socket(ctx)?;
    let target = target();
    if target == 0 {
        return None;
    }
    // SAFETY: reads the clock.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: `socket` is the context's and not null.
    let connection = match unsafe { connection(socket) } {
        Some(connection) if connection.stage == CONNECTING => connection,
        // Open already: the program of an inner target counted it.
        Some(_) => return None,
        None => {
            let mut initial = Connection::new(remote(ctx, target, direction), OPEN, now);
            // SAFETY: as above.
            unsafe { make_connection(socket, &mut initial)? }
        }
    };
    if connection.peer.target != target {
        return None;
    }
    if connection.stage != CONNECTING {
        // SAFETY: `socket` is the context's and not null.
        unsafe { early::accepted(socket, (*ctx.ops).rcv_nxt) };
    }
    let attempted = (connection.stage == CONNECTING).then_some(connection.since_ns);
    connection.stage = OPEN;
    connection.since_ns = now;
    connection.flags |= BASED;
    // SAFETY: fields of the program's context.
    unsafe {
        connection.received_base = (*ctx.ops).rcv_nxt;
        // Data in the SYN (RFC 7413) was counted when that went out.
        if connection.sent == 0 {
            connection.sent_base = (*ctx.ops).snd_nxt;
        }
    }
    ask_for_states(ctx);
    debug!(
        ctx,
        "target {}: opened, direction {}, port {}", target, connection.peer.direction, connection.peer.port
    );
    let totals = peers::totals(&mut connection.peer)?;
    // SAFETY: `totals` is a value of the map of peers.
    unsafe {
        add(&raw mut (*totals).opened, 1);
        if let Some(attempted) = attempted {
            peers::observe(&raw mut (*totals).connect, &SHORT_NS, now.wrapping_sub(attempted));
        }
    }
    Some(())
}

/// A change of TCP state of a connection that began under these programs. The tracepoint tells of it too, but under
/// load its program is not run for every event: of 1,340 connects that timed out in a burst up to 58 were missed,
/// here none (docs/decisions/0007).
#[inline(always)]
fn state_by_sock_ops(ctx: &SockOpsContext) -> Option<()> {
    let socket = socket(ctx)?;
    // SAFETY: `socket` is the context's and not null.
    let connection = unsafe { connection(socket)? };
    if connection.peer.target != target() {
        return None;
    }
    // SAFETY: as above; the helper gives a typed pointer here too.
    state_changed(socket, connection, ctx.arg(1), || unsafe { end_of(socket) })
}

/// Every change of the state of any TCP socket on the host; one look-up tells whether it is a target's. What
/// [`socket_events`] has seen already changes nothing; adopted connections are seen here alone.
///
/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`, include/trace/events/sock.h.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn socket_state(ctx: BtfTracePointContext) -> i32 {
    let socket: *mut c_void = ctx.arg(0);
    let new: u32 = ctx.arg(2);
    // SAFETY: the tracepoint's argument, never null.
    if let Some(connection) = unsafe { connection(socket) } {
        debug!(&ctx, "target {}: TCP state {}", connection.peer.target, new);
        // SAFETY: as above.
        state_changed(socket, connection, new, || unsafe { end_of(socket) });
    }
    0
}

/// What the kernel knows of a connection at its end; `None` where this kernel does not tell.
struct End {
    error: u32,
    sent: Option<u32>,
    received: Option<u32>,
    retransmitted: Option<u32>,
}

impl End {
    /// Payload bytes sent and received, each once.
    #[inline(always)]
    fn bytes(&self, connection: &Connection) -> (u64, u64) {
        let sent = self.sent.map_or(connection.sent, |next| connection.sent_up_to(next));
        (sent, self.received.map_or(connection.received, |next| connection.received_up_to(next)))
    }
}

/// # Safety
/// `socket` is a socket pointer that the verifier knows as one, and not null.
#[inline(always)]
unsafe fn end_of(socket: *mut c_void) -> End {
    // SAFETY: the caller's; a `tcp_sock` begins with its `sock`.
    unsafe {
        let tcp = bpf_skc_to_tcp_sock(socket).cast_const().cast::<u8>();
        if tcp.is_null() {
            return End { error: 0, sent: None, received: None, retransmitted: None };
        }
        End {
            error: member(tcp, &SOCK_ERR).unwrap_or(0),
            sent: member(tcp, &TCP_SND_NXT),
            received: member(tcp, &TCP_RCV_NXT),
            retransmitted: member(tcp, &TCP_TOTAL_RETRANS),
        }
    }
}

#[inline(always)]
fn state_changed(
    socket: *mut c_void,
    connection: &mut Connection,
    new: u32,
    end: impl FnOnce() -> End,
) -> Option<()> {
    if new != state::CLOSE {
        connection.state_changed(new);
        return None;
    }
    let stage = connection.stage;
    if stage == CLOSED {
        return None;
    }
    connection.stage = CLOSED;
    let end = end();
    let totals = peers::totals(&mut connection.peer)?;
    let retransmitted = end.retransmitted.unwrap_or(0).wrapping_sub(connection.retransmitted_base);
    // SAFETY: `totals` is a value of the map of peers, and both reasons are checked against their arrays.
    unsafe {
        if stage == CONNECTING {
            let reason = usize::from(fail_reason(end.error));
            if reason < FAIL_REASONS.len() {
                add((&raw mut (*totals).failed).cast::<u64>().add(reason), 1);
            }
            add(&raw mut (*totals).retransmitted, u64::from(retransmitted));
            return Some(());
        }
        let close_reason = connection.close_reason(end.error);
        let reason = usize::from(close_reason);
        if reason < CLOSE_REASONS.len() {
            add((&raw mut (*totals).closed).cast::<u64>().add(reason), 1);
        }
        let now_ns = bpf_ktime_get_ns();
        exchanges::closed(socket, connection, close_reason, now_ns);
        if connection.flags & BASED != 0 {
            let (sent, received) = end.bytes(connection);
            add(&raw mut (*totals).sent, sent);
            add(&raw mut (*totals).received, received);
            add(&raw mut (*totals).retransmitted, u64::from(retransmitted));
        }
        peers::observe(&raw mut (*totals).duration, &LONG_NS, now_ns.wrapping_sub(connection.since_ns));
    }
    Some(())
}

/// Context of an iterator over a socket storage map (`struct bpf_iter__bpf_sk_storage_map`,
/// `net/core/bpf_sk_storage.c`).
#[repr(C)]
struct WalkContext {
    meta: *const WalkMeta,
    map: *const c_void,
    socket: *mut c_void,
    value: *const Connection,
}

/// `struct bpf_iter_meta`, include/linux/bpf.h.
#[repr(C)]
pub(crate) struct WalkMeta {
    pub(crate) seq: *mut seq_file,
}

/// Reports every open connection of every target to whoever reads the iterator: bytes of a connection that stays
/// open for hours are on its socket alone.
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
#[unsafe(no_mangle)]
extern "C" fn socket_walk(ctx: *const WalkContext) -> i32 {
    // SAFETY: the kernel calls with a valid context; the verifier knows the types of its members.
    unsafe {
        let (socket, value) = ((*ctx).socket, (*ctx).value);
        if socket.is_null() || value.is_null() || (*value).stage != OPEN {
            return 0;
        }
        let mut open = OpenConnection {
            peer: (*value).peer,
            since_ns: (*value).since_ns,
            first_byte_ns: (*value).first_byte_ns,
            sent: 0,
            received: 0,
            retransmitted: 0,
            flags: u32::from((*value).flags & PREEXISTING),
        };
        if (*value).flags & BASED != 0 {
            let end = end_of(socket);
            (open.sent, open.received) = end.bytes(&*value);
            open.retransmitted = end.retransmitted.unwrap_or(0).wrapping_sub((*value).retransmitted_base);
        }
        // A full buffer makes the kernel call again for the same socket.
        bpf_seq_write((*(*ctx).meta).seq, ptr::from_ref(&open).cast(), size_of::<OpenConnection>() as u32);
    }
    0
}

#[inline(always)]
fn socket(ctx: &SockOpsContext) -> Option<*mut c_void> {
    // SAFETY: a field of the program's context.
    let socket = unsafe { (*ctx.as_ptr().cast::<bpf_sock_ops>()).__bindgen_anon_2.sk };
    if socket.is_null() { None } else { Some(socket.cast()) }
}

/// The key of the peer that a `sock_ops` event is about.
#[inline(always)]
fn remote(ctx: &SockOpsContext, target: u32, direction: Direction) -> PeerKey {
    /// `AF_INET`, include/linux/socket.h.
    const INET: u32 = 2;
    let mut address = [0_u8; 16];
    // SAFETY: fields of the program's context, read one by one: the verifier accepts no other access.
    let port = unsafe {
        let words = if (*ctx.ops).family == INET {
            // IPv4-mapped (RFC 4291 section 2.5.5.2).
            [0, 0, u32::to_be(0xffff), (*ctx.ops).remote_ip4]
        } else {
            [
                ptr::read_volatile(&raw const (*ctx.ops).remote_ip6[0]),
                ptr::read_volatile(&raw const (*ctx.ops).remote_ip6[1]),
                ptr::read_volatile(&raw const (*ctx.ops).remote_ip6[2]),
                ptr::read_volatile(&raw const (*ctx.ops).remote_ip6[3]),
            ]
        };
        ptr::write_unaligned((&raw mut address).cast(), words);
        // Network byte order in the upper half (net/core/filter.c, sock_ops_convert_ctx_access).
        u32::from_be((*ctx.ops).remote_port) as u16
    };
    peer_key(target, direction, address, port)
}
