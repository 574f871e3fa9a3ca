//! A connection's life: attempt, opening, the changes of its TCP state, its end.
//! What the kernel says at the end is what counts: bytes, who closed first, segments sent again.

use core::ptr;

use aya_ebpf::{
    EbpfContext as _, Global,
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock_ops,
    },
    cty::c_void,
    helpers::{bpf_ktime_get_ns, bpf_load_hdr_opt, bpf_skc_to_tcp_sock},
    macros::{btf_tracepoint, sock_ops},
    programs::{BtfTracePointContext, SockOpsContext},
};
use aya_log_ebpf::debug;
use observer_ebpf::{
    flow::{
        Carries, Connection,
        connection::{CLOSED, CONNECTING, OPEN, fail_reason, peer_key, state},
    },
    framer::RESPONSE,
    records::{
        histogram::{LONG_NS, SHORT_NS},
        peer::{CLOSE_REASONS, Direction, FAIL_REASONS, PeerKey},
    },
};

use crate::{
    count::add,
    flow::{self, early, make_connection},
    offsets::{
        ABSENT, SOCK_ERR, SOCK_FLAGS, TCP_BYTES_RECEIVED, TCP_RCV_NXT, TCP_SND_NXT, TCP_TOTAL_RETRANS, member,
    },
    peers,
    storage::{self, connection, target},
};

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
    let attempted = (connection.stage == CONNECTING).then_some(connection.since_ns);
    connection.stage = OPEN;
    connection.since_ns = now;
    // SAFETY: fields of the program's context; `socket` is the context's and not null.
    unsafe {
        let (receives, sends) = ((*ctx.ops).rcv_nxt, (*ctx.ops).snd_nxt);
        connection.received_base = receives;
        connection.received_highest = receives;
        connection.received_total_base = (*ctx.ops).bytes_received;
        connection.retransmitted_base = 0;
        if attempted.is_none() {
            connection.sent_base = sends;
            connection.client_at = receives;
            early::accepted(socket, connection, receives, sends);
        } else if connection.sent == 0 {
            connection.sent_base = sends;
            connection.client_at = sends;
        } else if connection.protocol == Carries::Http as u8
            && let Some(followed) = storage::followed(socket)
        {
            // Data in the SYN (RFC 7413) was counted and framed when that went out; what comes back begins here.
            let order = &mut (*followed).orders[RESPONSE as usize];
            (order.next, order.long_way, order.highest) = (receives, receives, receives);
        }
    }
    connection.based = 1;
    if is_multipath(ctx) {
        flow::is_multipath(socket, connection);
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

/// Tells whether both sides have agreed on Multipath TCP: its option is in the packet that ended the handshake.
#[inline(always)]
fn is_multipath(ctx: &SockOpsContext) -> bool {
    /// The option's kind, RFC 8684 section 3.
    const MULTIPATH: u8 = 30;
    let mut option = [0_u64; 5];
    option[0] = MULTIPATH.into();
    // SAFETY: the helper writes at most as much as it is told; without a packet at hand it fails.
    let found =
        unsafe { bpf_load_hdr_opt(ctx.ops, option.as_mut_ptr().cast(), size_of_val(&option) as u32, 0) };
    found > 0
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
pub(super) struct End {
    error: u32,
    /// The number that is sent next.
    next_sent: u32,
    /// The number that is expected next.
    next_received: u32,
    retransmitted: u32,
    /// Bytes received, as TCP counts them.
    received: u64,
    /// Whether the peer's FIN was taken.
    fin: bool,
    knows_sent: bool,
    knows_received: bool,
}

impl End {
    /// No options: what one does not hold is on the stack unset, and LLVM loads it before it asks whether it is there, which
    /// kernels before 6.3 refuse ("invalid read from stack", on 6.1).
    const UNKNOWN: Self = Self {
        error: 0,
        next_sent: 0,
        next_received: 0,
        retransmitted: 0,
        received: 0,
        fin: false,
        knows_sent: false,
        knows_received: false,
    };

    /// Payload bytes sent and received, each once.
    #[inline(always)]
    pub(super) fn bytes(&self, connection: &Connection) -> (u64, u64) {
        let sent = if self.knows_sent { connection.sent_up_to(self.next_sent) } else { connection.sent };
        let received = if self.knows_received {
            connection.received_up_to(self.next_received, self.received, self.fin)
        } else {
            0
        };
        (sent, received)
    }

    /// Segments sent again since the agent looks.
    #[inline(always)]
    pub(super) fn retransmitted(&self, connection: &Connection) -> u32 {
        self.retransmitted.wrapping_sub(connection.retransmitted_base)
    }
}

/// Reads what the kernel knows of a connection.
///
/// # Safety
/// `socket` is a socket pointer that the verifier knows as one, and not null.
#[inline(always)]
pub(super) unsafe fn end_of(socket: *mut c_void) -> End {
    /// `SOCK_DONE`, include/net/sock.h: the peer's FIN was taken, in order (`tcp_fin`, net/ipv4/tcp_input.c).
    const SOCK_DONE: u64 = 1 << 1;
    // SAFETY: the caller's; a `tcp_sock` begins with its `sock`.
    unsafe {
        let tcp = bpf_skc_to_tcp_sock(socket).cast_const().cast::<u8>();
        if tcp.is_null() {
            return End::UNKNOWN;
        }
        let is_known = |offset: &Global<u32>| offset.load() != ABSENT;
        End {
            error: member(tcp, &SOCK_ERR).unwrap_or(0),
            next_sent: member(tcp, &TCP_SND_NXT).unwrap_or(0),
            next_received: member(tcp, &TCP_RCV_NXT).unwrap_or(0),
            retransmitted: member(tcp, &TCP_TOTAL_RETRANS).unwrap_or(0),
            received: member(tcp, &TCP_BYTES_RECEIVED).unwrap_or(0),
            fin: member::<u64>(tcp, &SOCK_FLAGS).unwrap_or(0) & SOCK_DONE != 0,
            knows_sent: is_known(&TCP_SND_NXT),
            knows_received: is_known(&TCP_RCV_NXT) && is_known(&TCP_BYTES_RECEIVED) && is_known(&SOCK_FLAGS),
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
    let retransmitted = end.retransmitted(connection);
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
        flow::closed(socket, connection, close_reason, now_ns);
        if connection.based != 0 {
            let (sent, received) = end.bytes(connection);
            add(&raw mut (*totals).sent, sent);
            add(&raw mut (*totals).received, received);
            add(&raw mut (*totals).retransmitted, u64::from(retransmitted));
        }
        peers::observe(&raw mut (*totals).duration, &LONG_NS, now_ns.wrapping_sub(connection.since_ns));
    }
    Some(())
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
