//! HTTP on a target's connections: feeds the framer with packets, and sends what it yields to the agent.
//! The framer's state lies beside the connection's on the socket; steps are functions that the verifier sees once.

use core::ptr;

use aya_ebpf::{
    Global,
    bindings::{
        __sk_buff, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_SK_STORAGE_GET_F_CREATE,
    },
    btf_maps::{PerCpuArray, RingBuf, SkStorage},
    cty::c_void,
    helpers::{
        bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_ringbuf_output, bpf_ringbuf_query, bpf_seq_write,
        bpf_skb_load_bytes, generated::bpf_sk_storage_get,
    },
    macros::btf_map,
};
use observer_ebpf::{
    connection::{Connection, PREEXISTING},
    http::{
        Calls, body, end, events,
        exchange::{Exchange, Outcome, SELF_CALL},
        head, resync, segments,
        state::{Half, Http, LOAD, LOST, REQUEST, RESPONSE, SEND_AHEAD, SEND_EXCHANGE, Stage},
    },
    l7::CELLS,
    lost::{Kind, Reason},
    peer::{CloseReason, Direction},
};

use crate::{count::lost, packets, sockets::WalkMeta};

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

/// Unread bytes of the ring at which the agent is woken: it looks by itself every second.
const WAKE_BYTES: u64 = 256 * 1024;

/// The framer's state of a socket's connection.
///
/// # Safety
/// `socket` is a socket pointer that the verifier knows to be not null.
#[inline(always)]
unsafe fn state(socket: *mut c_void) -> Option<*mut Http> {
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
    connection: &Connection,
    outgoing: bool,
    (sequence, payload, length): (u32, u32, u32),
    now_ns: u64,
) {
    // SAFETY: the caller's.
    let http = match unsafe { state(socket) } {
        Some(http) => http,
        None => match make(skb, socket, connection, outgoing, sequence) {
            Some(http) => http,
            None => return,
        },
    };
    let side = side(connection, outgoing);
    // SAFETY: the storage lives as long as its socket, which the running program holds.
    let early = unsafe { (*http).early };
    if early != 0 {
        take_early(skb, http, connection, early);
    }
    segments::segment(&Packet { skb, http, payload }, side, sequence, length, now_ns);
    // SAFETY: the storage lives as long as its socket, which the running program holds.
    unsafe {
        count_loss(http, side);
        if let Some(bytes) = L7_BYTES.get_ptr_mut((*http).protocol(side) as u32) {
            *bytes += u64::from(length);
        }
    }
}

/// Which half outgoing or incoming bytes of the connection belong to.
#[inline(always)]
fn side(connection: &Connection, outgoing: bool) -> u32 {
    let accepted = connection.peer.direction == Direction::Inbound as u8;
    if accepted == outgoing { RESPONSE } else { REQUEST }
}

/// The first bytes of a connection that came with the acknowledgement of its handshake, for lack of the one before it:
/// the kernel shows them to the programs of the listener's cgroup, when the connection's socket does not exist yet.
#[repr(C)]
struct Early {
    /// The sequence number of the first byte.
    sequence: u32,
    /// How many bytes are here, 0 if none.
    length: u32,
    /// When they came.
    now_ns: u64,
    /// The bytes, and room to read a window beyond them.
    bytes: [u8; EARLY_BYTES + LOAD as usize],
}

/// Room for a segment on an Ethernet: a power of two.
const EARLY_BYTES: usize = 2048;

/// What the listeners of this CPU saw last; the socket is made within the same interrupt.
#[btf_map]
static LAST_EARLY: PerCpuArray<Early, 1> = PerCpuArray::new();

/// What came early, on the socket that it is for.
#[btf_map]
static EARLY: SkStorage<Early> = SkStorage::new();

/// Notes payload that came to a listener.
#[inline(always)]
pub(crate) fn came_early(skb: *mut __sk_buff, sequence: u32, payload: u32, length: u32) {
    let Some(early) = LAST_EARLY.get_ptr_mut(0) else { return };
    let length = if length > EARLY_BYTES as u32 { EARLY_BYTES as u32 } else { length };
    let length = (length.wrapping_sub(1) & (EARLY_BYTES as u32 - 1)) + 1;
    // SAFETY: a valid cell of this CPU, which only this interrupt uses; it has room for the most that is loaded.
    unsafe {
        (*early).sequence = sequence;
        (*early).now_ns = bpf_ktime_get_ns();
        let bytes = (&raw mut (*early).bytes).cast();
        let loaded = bpf_skb_load_bytes(skb.cast(), payload, bytes, length) == 0;
        (*early).length = if loaded { length } else { 0 };
    }
}

/// Gives a new connection what came early for it.
///
/// # Safety
/// `socket` is a socket pointer of the program's context, not null.
#[inline(always)]
pub(crate) unsafe fn accepted(socket: *mut c_void, next: u32) {
    let Some(early) = LAST_EARLY.get_ptr_mut(0) else { return };
    // SAFETY: a valid cell of this CPU; the helper copies it.
    unsafe {
        if (*early).length == 0 {
            return;
        }
        if (*early).sequence == next {
            let map = ptr::from_ref(&EARLY).cast_mut().cast();
            bpf_sk_storage_get(map, socket, early.cast(), BPF_SK_STORAGE_GET_F_CREATE.into());
        }
        (*early).length = 0;
    }
}

/// What came early for the connection of a packet.
#[inline(always)]
fn early(skb: *mut __sk_buff) -> Option<&'static Early> {
    // SAFETY: a field of the program's context.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return None;
    }
    let map = ptr::from_ref(&EARLY).cast_mut().cast();
    // SAFETY: the context's socket, not null; without the flag to create, the helper only looks up. The storage lives as
    // long as its socket, which the running program holds.
    unsafe { bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), 0).cast::<Early>().as_ref() }
}

/// Loads what came early into the window of the request half.
#[inline(always)]
fn load_early(packet: &Packet, offset: u32, position: u32) -> u32 {
    let Some(early) = early(packet.skb) else { return 0 };
    let half = &mut packet.http().halves[REQUEST as usize];
    let mut copied = 0;
    while copied < LOAD {
        let from = (offset.wrapping_add(copied) & (EARLY_BYTES as u32 - 1)) as usize;
        // SAFETY: behind the bytes there is room for a window.
        let word = unsafe { early.bytes.as_ptr().add(from).cast::<u64>().read_unaligned() };
        half.set_word(position.wrapping_add(copied), word);
        copied += 8;
    }
    1
}

/// Frames what came early, before anything else of the connection.
#[inline(always)]
fn take_early(skb: *mut __sk_buff, http: *mut Http, connection: &Connection, length: u32) {
    let packet = Packet { skb, http, payload: 0 };
    if let Some(early) = early(skb) {
        packet.http().now_ns[REQUEST as usize] = early.now_ns;
        packet.steps(REQUEST, 0, length);
        packet.http().halves[REQUEST as usize].next = connection.received_base.wrapping_add(length);
    }
    packet.http().early = 0;
}

#[inline(always)]
fn make(
    skb: *mut __sk_buff,
    socket: *mut c_void,
    connection: &Connection,
    outgoing: bool,
    sequence: u32,
) -> Option<*mut Http> {
    // SAFETY: the caller's socket; without a value the storage is made of zeros.
    let made: *mut Http =
        unsafe { bpf_sk_storage_get(map(), socket, ptr::null_mut(), BPF_SK_STORAGE_GET_F_CREATE.into()) }
            .cast();
    if made.is_null() {
        lost(Kind::Exchange, Reason::MapFull);
        return None;
    }
    let (incoming_side, outgoing_side) = (side(connection, false), side(connection, true));
    // SAFETY: the storage lives as long as its socket, which the running program holds.
    unsafe {
        let http = &mut *made;
        http.exchange.target = connection.peer.target;
        http.exchange.direction = connection.peer.direction;
        // Zero of an inbound connection, like all of its peer.
        http.exchange.port = connection.peer.port;
        http.exchange.id = bpf_get_socket_cookie(skb.cast());
        http.stall_ns = STALL_NS.load();
        if packets::calls_itself(skb, socket.cast(), connection.peer.target) != 0 {
            http.flags = SELF_CALL;
        }
        if let Some(early) = early(skb) {
            http.early = early.length;
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
    Some(made)
}

/// Context of an iterator over [`HTTP`], as [`sockets::WalkContext`] is of one over connections.
#[repr(C)]
struct WalkContext {
    meta: *const WalkMeta,
    map: *const c_void,
    socket: *mut c_void,
    value: *const Http,
}

/// Reports every exchange that is under way to whoever reads the iterator: a stream that stays open for hours is on
/// its socket alone.
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
#[unsafe(no_mangle)]
extern "C" fn exchange_walk(ctx: *const WalkContext) -> i32 {
    // SAFETY: the kernel calls with a valid context; the verifier knows the types of its members.
    unsafe {
        let (socket, value) = ((*ctx).socket, (*ctx).value);
        if socket.is_null() || value.is_null() {
            return 0;
        }
        let outstanding = (*value).requests.wrapping_sub((*value).responses);
        if outstanding == 0 || (*value).exchange.outcome != Outcome::Open as u8 {
            return 0;
        }
        // A full buffer makes the kernel call again for the same socket.
        let exchange = (&raw const (*value).exchange).cast::<u8>();
        let write = |from: *const u8, length: usize| {
            bpf_seq_write((*(*ctx).meta).seq, from.cast_mut().cast(), length as u32);
        };
        write(exchange, IN_FLIGHT);
        write(ptr::from_ref(&outstanding).cast(), size_of::<u32>());
        write(
            exchange.add(IN_FLIGHT + size_of::<u32>()),
            size_of::<Exchange>() - IN_FLIGHT - size_of::<u32>(),
        );
    }
    0
}

/// Where the number of unanswered requests is in an exchange; it is the connection's and not kept there.
const IN_FLIGHT: usize = core::mem::offset_of!(Exchange, in_flight);

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
        if let Some(http) = state(socket)
            && end::closed(&mut *http, outcome, now_ns)
        {
            send(http, RESPONSE);
        }
    }
}

/// Sends what the half has ready.
///
/// # Safety
/// `http` is a storage value of a socket that the running program holds.
#[inline(always)]
unsafe fn send(http: *mut Http, side: u32) {
    // SAFETY: the caller's.
    unsafe {
        let half = &raw mut (*http).halves[(side & 1) as usize];
        let send = (*half).send;
        (*half).send = 0;
        if send & SEND_AHEAD != 0 {
            output((&raw const (*http).ahead).cast(), size_of_val(&(*http).ahead) as u64);
        }
        if send & SEND_EXCHANGE != 0 {
            output((&raw const (*http).exchange).cast(), u64::from((*http).exchange_bytes()));
            (*http).exchange_sent();
        }
    }
}

/// # Safety
/// `record` points to `length` bytes of a map's value.
#[inline(always)]
unsafe fn output(record: *const c_void, length: u64) {
    let ring = ptr::from_ref(&EXCHANGES).cast_mut().cast();
    // SAFETY: the caller's.
    unsafe {
        let unread = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA.into());
        let wake = if unread > WAKE_BYTES { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
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

/// A packet as the framer sees it.
struct Packet {
    skb: *mut __sk_buff,
    http: *mut Http,
    payload: u32,
}

impl Calls for Packet {
    #[inline(always)]
    fn http(&self) -> &mut Http {
        // SAFETY: the storage lives as long as its socket, which the running program holds.
        unsafe { &mut *self.http }
    }

    #[inline(always)]
    fn load(&self, offset: u32, half: &mut Half, position: u32, length: u32) -> bool {
        if self.http().early != 0 {
            return http_early(self.skb, offset, position) != 0;
        }
        // SAFETY: the window has room for the most that is loaded behind the most that is carried.
        unsafe {
            let to = half.window.as_mut_ptr().add(position as usize);
            bpf_skb_load_bytes(self.skb.cast(), self.payload + offset, to.cast(), length) == 0
        }
    }

    #[inline(always)]
    fn send(&self, side: u32) {
        // SAFETY: as in `http`.
        unsafe { send(self.http, side) }
    }

    #[inline(always)]
    fn steps(&self, side: u32, offset: u32, end: u32) -> u32 {
        http_steps(self.skb, side, offset, end, self.payload)
    }

    #[inline(always)]
    fn step(&self, side: u32, offset: u32, end: u32) -> u32 {
        http_step(self.skb, side, offset, end, self.payload)
    }

    #[inline(always)]
    fn disorder(&self, side: u32, sequence: u32, length: u32) -> u32 {
        http_disorder(self.skb, side, sequence, length)
    }

    #[inline(always)]
    fn read_chunks(&self, side: u32, length: u32) -> u32 {
        http_chunks(self.skb, side, length, self.payload)
    }

    #[inline(always)]
    fn lines(&self, side: u32, offset: u32, end: u32) -> u32 {
        http_lines(self.skb, side, offset, end, self.payload)
    }

    #[inline(always)]
    fn find_lines(&self, side: u32) -> u32 {
        http_find_lines(self.skb, side)
    }

    #[inline(always)]
    fn first_line(&self, side: u32, end: u32) -> u32 {
        http_first_line(self.skb, side, end)
    }

    #[inline(always)]
    fn field(&self, side: u32, index: u32) {
        http_field(self.skb, side, index);
    }

    #[inline(always)]
    fn has_event(&self) -> u32 {
        http_has_event(self.skb)
    }

    #[inline(always)]
    fn body(&self, side: u32, offset: u32, end: u32) -> u32 {
        http_body(self.skb, side, offset, end, self.payload)
    }

    #[inline(always)]
    fn frame(&self, side: u32, offset: u32, end: u32) -> u32 {
        http_frame(self.skb, side, offset, end, self.payload)
    }

    #[inline(always)]
    fn resync(&self, side: u32, offset: u32, end: u32) -> u32 {
        http_resync(self.skb, side, offset, end, self.payload)
    }
}

/// Declares the framer's functions. Each finds its connection's state anew: it gets no pointers but its context,
/// because kernels before 5.13 take no others.
macro_rules! functions {
    ($($(#[$doc:meta])* fn $name:ident(
        $packet:ident $(, $argument:ident)*; $payload:expr
    ) $body:block else $otherwise:expr;)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(skb: *mut __sk_buff $(, $argument: u32)*) -> u32 {
            match packet(skb, $payload) {
                Some($packet) => $body,
                None => $otherwise,
            }
        }
    )*};
}

functions! {
    /// [`segments::steps`]
    fn http_steps(packet, side, offset, end, payload; payload) {
        segments::steps(&packet, side, offset, end)
    } else end;
    /// [`segments::step`]
    fn http_step(packet, side, offset, end, payload; payload) {
        segments::step(&packet, side, offset, end)
    } else end;
    /// [`segments::read_chunks`]
    fn http_chunks(packet, side, length, payload; payload) {
        segments::read_chunks(&packet, side, length)
    } else 0;
    /// [`segments::disorder`]
    fn http_disorder(packet, side, sequence, length; 0) {
        let goes_on = segments::disorder(packet.http(), side, sequence, length);
        packet.send_if_ready(side);
        goes_on
    } else segments::DONE;
    /// [`head::lines`]
    fn http_lines(packet, side, offset, end, payload; payload) {
        let goes_on = head::lines(&packet, side, offset, end);
        packet.send_if_ready(side);
        goes_on
    } else end;
    /// [`body::body`]
    fn http_body(packet, side, offset, end, payload; payload) {
        let goes_on = body::body(&packet, side, offset, end);
        packet.send_if_ready(side);
        goes_on
    } else end;
    /// [`events::frame`]
    fn http_frame(packet, side, offset, end, payload; payload) {
        let goes_on = events::frame(&packet, side, offset, end);
        packet.send_if_ready(side);
        goes_on
    } else end;
    /// [`resync::resync`]
    fn http_resync(packet, side, offset, end, payload; payload) {
        resync::resync(&packet, side, offset, end)
    } else end;
    /// [`load_early`]
    fn http_early(packet, offset, position; 0) {
        load_early(&packet, offset, position)
    } else 0;
    /// [`head::find_lines`]
    fn http_find_lines(packet, side; 0) {
        head::find_lines(packet.http(), side)
    } else 0;
    /// [`head::first_line`]
    fn http_first_line(packet, side, end; 0) {
        head::first_line(packet.http(), side, end)
    } else head::FOREIGN;
    /// [`head::field`]
    fn http_field(packet, side, index; 0) {
        head::field(packet.http(), side, index);
        0
    } else 0;
    /// [`events::has_event`]
    fn http_has_event(packet; 0) {
        events::has_event(packet.http())
    } else 0;
}

impl Packet {
    #[inline(always)]
    fn send_if_ready(&self, side: u32) {
        if self.http().halves[(side & 1) as usize].send != 0 {
            self.send(side);
        }
    }
}

/// The packet and its connection's state.
#[inline(always)]
fn packet(skb: *mut __sk_buff, payload: u32) -> Option<Packet> {
    // SAFETY: a field of the program's context.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return None;
    }
    // SAFETY: the context's socket, not null.
    let http = unsafe { state(socket.cast())? };
    Some(Packet { skb, http, payload })
}
