//! The framer's functions as the verifier sees them, each with the packet and its connection's state.
//! What they do is in the library; here is how they get their bytes and call each other.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_load_bytes};
use observer_ebpf::http::{
    Calls, alone, body, events, head, resync, segments, shortcut,
    state::{Half, Http, REQUEST, RESPONSE},
};

use crate::{
    early, exchanges, guard,
    offsets::{ABSENT, TCP_RCV_NXT, TCP_SND_NXT},
    sockets,
};

/// A packet as the framer sees it.
pub(crate) struct Packet {
    pub(crate) skb: *mut __sk_buff,
    pub(crate) http: *mut Http,
    pub(crate) payload: u32,
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
        unsafe { exchanges::send(self.http, side) }
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
    /// [`segments::rest`]
    fn http_rest(packet, side, offset, end, payload; payload) {
        segments::rest(&packet, side, offset, end);
        end
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
    /// [`early::load_early`]
    fn http_early(packet, offset, position; 0) {
        early::load_early(&packet, offset, position)
    } else 0;
    /// [`events::has_event`]
    fn http_has_event(packet; 0) {
        events::has_event(packet.http())
    } else 0;
}

/// The arguments of [`http_segment`], of which there may be few: sequence number and length; place of the payload in the
/// packet, and side.
#[inline(always)]
pub(crate) fn packed(sequence: u32, length: u32, payload: u32, side: u32) -> (u64, u32) {
    (u64::from(length) << 32 | u64::from(sequence), payload << 1 | side & 1)
}

/// Takes a segment that is a whole chunk of a stream, or with which a message begins: nearly all of them. The
/// connection's own state is not looked up. 0 if it has to go the long way, by way of the connection's state: at least
/// once a second. `place` tells in its last bit whether the segment is outgoing.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn http_shortcut(skb: *mut __sk_buff, positions: u64, place: u32, now_ns: u64) -> u32 {
    let (sequence, length, payload) = (positions as u32, (positions >> 32) as u32, place >> 1);
    if TCP_SND_NXT.load() == ABSENT || TCP_RCV_NXT.load() == ABSENT {
        return 0;
    }
    let Some(packet) = packet(skb, payload) else { return 0 };
    let http = packet.http();
    let (owner, outgoing) = (http.owner, place & 1);
    if !is_recent(http, now_ns) || owner >> 1 != sockets::target() {
        return 0;
    }
    // What a server sends is the response, and what a client receives.
    let side = if owner & 1 == outgoing { RESPONSE } else { REQUEST };
    let guard = &raw mut *alone::guard(http, side);
    // SAFETY: the storage lives as long as its socket, which the running program holds.
    if outgoing == 0 && !unsafe { guard::enter(guard) } {
        return 0;
    }
    let taken = shortcut_of(&packet, side, sequence, length, now_ns);
    if outgoing == 0 {
        // SAFETY: as above.
        unsafe { guard::leave(guard) };
    }
    taken
}

/// The two shortcuts, for whoever has the half.
#[inline(always)]
fn shortcut_of(packet: &Packet, side: u32, sequence: u32, length: u32, now_ns: u64) -> u32 {
    let (skb, payload, http) = (packet.skb, packet.payload, packet.http());
    if side == RESPONSE && http.shortcut.open != shortcut::CLOSED {
        if http.shortcut.next != sequence {
            return 0;
        }
        return exchanges::by_shortcut(skb, http, payload, length, now_ns);
    }
    if !segments::is_next_message(http, side, sequence) {
        return 0;
    }
    let half = &mut http.halves[(side & 1) as usize];
    half.now_ns = now_ns;
    half.next = sequence.wrapping_add(length);
    let goes_on = http_lines(skb, side, 0, length, payload);
    if goes_on < length {
        http_rest(skb, side, goes_on, length, payload);
    }
    alone::check(packet.http(), side, now_ns);
    // SAFETY: the storage lives as long as its socket, which the running program holds.
    unsafe { exchanges::taken(packet.http, side, length) };
    1
}

/// Units of 2^20 ns, 1.0003 s: a little more than the interval at which round-trip times are sampled.
const LONG_WAY_EVERY: u16 = 954;

/// Whether the connection has had a segment go the long way within the last second.
#[inline(always)]
fn is_recent(http: &Http, now_ns: u64) -> bool {
    ((now_ns >> 20) as u16).wrapping_sub(http.long_way) <= LONG_WAY_EVERY
}

/// [`segments::segment`], and counts what became of it; 0 if the connection has no state yet.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn http_segment(skb: *mut __sk_buff, positions: u64, place: u32, now_ns: u64) -> u32 {
    let (sequence, length, side) = (positions as u32, (positions >> 32) as u32, place & 1);
    let Some(packet) = packet(skb, place >> 1) else { return 0 };
    let http = packet.http();
    let serves = http.owner & 1 != 0;
    let incoming = serves != (side == RESPONSE);
    let guard = &raw mut *alone::guard(http, side);
    // To the framer, a segment that does not get the half is one that never came.
    // SAFETY: the storage lives as long as its socket, which the running program holds.
    if incoming && !unsafe { guard::wait(guard) } {
        return 1;
    }
    take(&packet, side, sequence, length, now_ns);
    if incoming {
        // SAFETY: as above.
        unsafe { guard::leave(guard) };
    }
    1
}

/// Takes a segment the long way, for whoever has the half.
#[inline(always)]
fn take(packet: &Packet, side: u32, sequence: u32, length: u32, now_ns: u64) {
    if packet.http().early != 0 {
        early::take_early(packet);
    }
    if !is_recent(packet.http(), now_ns) {
        packet.http().long_way = (now_ns >> 20) as u16;
    }
    segments::segment(packet, side, sequence, length, now_ns);
    alone::check(packet.http(), side, now_ns);
    // SAFETY: the storage lives as long as its socket, which the running program holds.
    unsafe { exchanges::taken(packet.http, side, length) };
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
    let http = unsafe { exchanges::state(socket.cast())? };
    Some(Packet { skb, http, payload })
}
