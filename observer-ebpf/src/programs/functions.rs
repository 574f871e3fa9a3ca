//! The framer's and order's functions as the verifier sees them, made for each context from one list.
//! What they do is in the library; here is how they find their state and call each other, and a segment as a whole.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_load_bytes};
use observer_ebpf::{
    flow::claim as claims,
    framer::{REQUEST, RESPONSE},
    http1::{
        Context, body, events, fields, first_line, head, life_cycle,
        packets::{self, InOrder, Packets},
        resync, shortcut,
        state::{Half, Http},
        steps, websocket,
    },
    order::{self, Order},
    records::l7::Protocol,
};

use crate::{
    claim,
    offsets::{ABSENT, TCP_RCV_NXT, TCP_SND_NXT},
    output,
    packet::{EARLY, Packet},
    storage,
};

/// Declares functions that the verifier looks at by themselves. Each finds its state anew: it gets no pointers but its
/// context, because kernels before 5.13 take no others.
macro_rules! functions {
    ($context:ty, $find:path; $($(#[$doc:meta])* fn $name:ident(
        $found:ident $(, $argument:ident)*
    ) $body:block else $otherwise:expr;)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(context: *mut $context $(, $argument: u32)*, place: u32) -> u32 {
            match $find(context, place) {
                Some($found) => $body,
                None => $otherwise,
            }
        }
    )*};
}

/// Makes the framer's functions for one context, under the names that are given for it, and the trait that calls them. State is
/// found by the context's own way; `$found` has `state`, `load_bytes`, `send_if_ready`, `context` and `place`.
macro_rules! framer {
    ($context:ty, $found:ty, $find:path, $raw:ident: $rest:ident, $steps:ident, $step:ident, $lines:ident,
        $blanks:ident, $body:ident, $chunks:ident, $look:ident, $search:ident, $frame:ident, $frames:ident, $resync:ident,
        $first:ident, $small_chunk:ident, $short_frame:ident, $first_line:ident) => {
        functions! { $context, $find;
            /// [`steps::rest`]
            fn $rest(found, side, offset, end) { steps::rest(&found, side, offset, end); 0 } else 0;
            /// [`steps::steps`]
            fn $steps(found, side, offset, end) { steps::steps(&found, side, offset, end) } else end;
            /// [`steps::step`]
            fn $step(found, side, offset, end) { steps::step(&found, side, offset, end) } else end;
            /// [`head::lines`]
            fn $lines(found, side, offset, end) {
                let goes_on = head::lines(&found, side, offset, end);
                found.send_if_ready(side);
                goes_on
            } else end;
            /// [`first_line::first_line`]
            fn $first_line(found, side, end) { first_line::first_line(found.state(), side, end) } else first_line::STOPS;
            /// [`fields::blanks`]
            fn $blanks(found, side) {
                fields::blanks(&mut found.state().halves[(side & 1) as usize]);
                0
            } else 0;
            /// [`body::body`]
            fn $body(found, side, offset, end) {
                let goes_on = body::body(&found, side, offset, end);
                found.send_if_ready(side);
                goes_on
            } else end;
            /// [`body::chunks`]
            fn $chunks(found, side, offset, end) { body::chunks(&found, side, offset, end) } else end;
            /// [`body::look`]
            fn $look(found, side, offset, end) {
                let goes_on = body::look(&found, side, offset, end);
                found.send_if_ready(side);
                goes_on
            } else end;
            /// [`events::search`]
            fn $search(found, is_sse) { events::search(found.state(), is_sse) } else 0;
            /// [`websocket::frame`]
            fn $frame(found, side, offset, end) {
                let goes_on = websocket::frame(&found, side, offset, end);
                found.send_if_ready(side);
                goes_on
            } else end;
            /// [`steps::first`]
            fn $first(found, side, offset, end) { steps::first(&found, side, offset, end) } else end;
            /// [`body::small_chunk`]
            fn $small_chunk(found, side, filled) { body::small_chunk(found.state(), side, filled).into() } else 0;
            /// [`websocket::short_frame`]
            fn $short_frame(found, side, filled) { websocket::short_frame(found.state(), side, filled).into() } else 0;
            /// [`websocket::frames`]
            fn $frames(found, side, offset, end) { websocket::frames(&found, side, offset, end) } else end;
            /// [`resync::resync`]
            fn $resync(found, side, offset, end) { resync::resync(&found, side, offset, end) } else end;
        }

        impl Context for $found {
            #[inline(always)]
            fn http(&self) -> &mut Http {
                self.state()
            }
            #[inline(always)]
            fn load(&self, offset: u32, half: &mut Half, position: u32, length: u32) -> bool {
                self.load_bytes(offset, half, position, length)
            }
            #[inline(always)]
            fn rest(&self, side: u32, offset: u32, end: u32) {
                $rest(self.$raw, side, offset, end, self.place);
            }
            #[inline(always)]
            fn steps(&self, side: u32, offset: u32, end: u32) -> u32 {
                $steps(self.$raw, side, offset, end, self.place)
            }
            #[inline(always)]
            fn step(&self, side: u32, offset: u32, end: u32) -> u32 {
                $step(self.$raw, side, offset, end, self.place)
            }
            #[inline(always)]
            fn lines(&self, side: u32, offset: u32, end: u32) -> u32 {
                $lines(self.$raw, side, offset, end, self.place)
            }
            #[inline(always)]
            fn first_line(&self, side: u32, end: u32) -> u32 {
                $first_line(self.$raw, side, end, self.place)
            }
            #[inline(always)]
            fn blanks(&self, side: u32) {
                $blanks(self.$raw, side, self.place);
            }
            #[inline(always)]
            fn body(&self, side: u32, offset: u32, end: u32) -> u32 {
                $body(self.$raw, side, offset, end, self.place)
            }
            #[inline(always)]
            fn chunks(&self, side: u32, offset: u32, end: u32) -> u32 {
                $chunks(self.$raw, side, offset, end, self.place)
            }
            #[inline(always)]
            fn look(&self, side: u32, offset: u32, end: u32) -> u32 {
                $look(self.$raw, side, offset, end, self.place)
            }
            #[inline(always)]
            fn search(&self, is_sse: u32) -> u32 {
                $search(self.$raw, is_sse, self.place)
            }
            #[inline(always)]
            fn frame(&self, side: u32, offset: u32, end: u32) -> u32 {
                $frame(self.$raw, side, offset, end, self.place)
            }
            #[inline(always)]
            fn first(&self, side: u32, offset: u32, end: u32) -> u32 {
                $first(self.$raw, side, offset, end, self.place)
            }
            #[inline(always)]
            fn small_chunk(&self, side: u32, filled: u32) -> u32 {
                $small_chunk(self.$raw, side, filled, self.place)
            }
            #[inline(always)]
            fn short_frame(&self, side: u32, filled: u32) -> u32 {
                $short_frame(self.$raw, side, filled, self.place)
            }
            #[inline(always)]
            fn frames(&self, side: u32, offset: u32, end: u32) -> u32 {
                $frames(self.$raw, side, offset, end, self.place)
            }
            #[inline(always)]
            fn resync(&self, side: u32, offset: u32, end: u32) -> u32 {
                $resync(self.$raw, side, offset, end, self.place)
            }
        }
    };
}

framer! {
    __sk_buff, Packet, Packet::find, skb: packet_rest, packet_steps, packet_step, packet_lines,
    packet_blanks, packet_body, packet_chunks, packet_look, packet_search, packet_frame, packet_frames, packet_resync,
    packet_first, packet_small_chunk, packet_short_frame, packet_first_line
}

functions! { __sk_buff, Packet::find;
    /// [`order::disorder`]
    fn packet_disorder(packet, side, sequence, length) {
        let goes_on = order::disorder(&InOrder(&packet), side, sequence, length);
        packet.send_if_ready(side);
        goes_on
    } else order::DONE;
    /// [`packets::read_ahead`]
    fn packet_read_ahead(packet, side, length) { packets::read_ahead(&packet, side, length) } else 0;
}

impl Packets for Packet {
    #[inline(always)]
    fn order(&self, side: u32) -> &mut Order {
        self.order_of(side)
    }

    #[inline(always)]
    fn disorder(&self, side: u32, sequence: u32, length: u32) -> u32 {
        packet_disorder(self.skb, side, sequence, length, self.place)
    }

    #[inline(always)]
    fn read_ahead(&self, side: u32, length: u32) -> u32 {
        packet_read_ahead(self.skb, side, length, self.place)
    }
}

/// The segment is not followed, or not by the shortcut.
pub(crate) const NOT_TAKEN: u32 = 0;
/// The segment was taken.
pub(crate) const TAKEN: u32 = 1;
/// The segment was taken, and with it the connection's HTTP came to an end: [`Http::over`] says why.
pub(crate) const OVER: u32 = 2;

/// The arguments of the two functions below, of which there may be few: sequence number and length of the payload.
#[inline(always)]
pub(crate) fn positions(sequence: u32, length: u32) -> u64 {
    u64::from(length) << 32 | u64::from(sequence)
}

/// Takes a segment that is a whole chunk of a stream, or with which a message begins: nearly all of them. The connection's own
/// state is not looked up. [`NOT_TAKEN`] if it has to go the long way, by way of the connection's state: at least once a second.
/// `outgoing` is 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn packet_shortcut(
    skb: *mut __sk_buff,
    positions: u64,
    place: u32,
    outgoing: u32,
    now_ns: u64,
) -> u32 {
    let (sequence, length) = (positions as u32, (positions >> 32) as u32);
    if TCP_SND_NXT.load() == ABSENT || TCP_RCV_NXT.load() == ABSENT {
        return NOT_TAKEN;
    }
    let Some(packet) = Packet::find(skb, place) else { return NOT_TAKEN };
    let http = packet.state();
    let owned = http.owner;
    let outgoing = outgoing & 1;
    if !is_recent(http, now_ns) || owned >> 1 != storage::target() {
        return NOT_TAKEN;
    }
    // What a server sends is the response, and what a client receives.
    let side = if owned & 1 == outgoing { RESPONSE } else { REQUEST };
    let mark = &raw mut *claims::mark(http, side);
    // SAFETY: the storage lives as long as its socket, which the running program holds.
    if outgoing == 0 && !unsafe { claim::enter(mark) } {
        return NOT_TAKEN;
    }
    let taken = by_shortcut(&packet, side, sequence, length, now_ns);
    if outgoing == 0 {
        // SAFETY: as above.
        unsafe { claim::leave(mark) };
    }
    taken
}

/// The two shortcuts, for whoever has the half.
#[inline(always)]
fn by_shortcut(packet: &Packet, side: u32, sequence: u32, length: u32, now_ns: u64) -> u32 {
    let http = packet.state();
    if side == RESPONSE && http.shortcut.open != shortcut::CLOSED {
        if http.shortcut.next != sequence {
            return NOT_TAKEN;
        }
        return packet_chunk(packet.skb, packet.place, length, now_ns);
    }
    if !packets::is_next_message(packet, side, sequence) {
        return NOT_TAKEN;
    }
    packets::message(packet, side, sequence, length, now_ns);
    ends(packet, side, sequence, length, now_ns)
}

/// Takes a segment that may be a whole chunk or message of a stream. A function of its own: its frame of the stack is not that
/// of the framer.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_chunk(skb: *mut __sk_buff, place: u32, length: u32, now_ns: u64) -> u32 {
    const START: u32 = shortcut::START as u32;
    let Some(packet) = Packet::find(skb, place) else { return NOT_TAKEN };
    let http = packet.state();
    let mut segment = shortcut::Segment { start: [0; shortcut::WORDS], end: 0, length };
    let most = if length > START { START } else { length };
    // The verifier sees 1..=START by the mask.
    let most = (most.wrapping_sub(1) & (START - 1)) + 1;
    // SAFETY: `start` has room for the most that is loaded, and `end` for what is.
    unsafe {
        if bpf_skb_load_bytes(skb.cast(), place, segment.start.as_mut_ptr().cast(), most) != 0 {
            return NOT_TAKEN;
        }
        if shortcut::looks_at_end(http.shortcut.open, length) {
            let from = place.wrapping_add(length).wrapping_sub(shortcut::END);
            if bpf_skb_load_bytes(skb.cast(), from, (&raw mut segment.end).cast(), shortcut::END) != 0 {
                return NOT_TAKEN;
            }
        }
    }
    let stall_ns = http.stall_ns;
    if !shortcut::take(&mut http.shortcut, &segment, now_ns, stall_ns) {
        return NOT_TAKEN;
    }
    output::count_bytes(if http.upgraded != 0 { Protocol::WebSocket } else { Protocol::Http }, length);
    TAKEN
}

/// Units of 2^20 ns, 1.0003 s: a little more than the interval at which round-trip times are sampled.
const LONG_WAY_EVERY: u16 = 954;

/// Tells whether the connection has had a segment go the long way within the last second.
#[inline(always)]
fn is_recent(http: &Http, now_ns: u64) -> bool {
    ((now_ns >> 20) as u16).wrapping_sub(http.long_way) <= LONG_WAY_EVERY
}

/// Takes a segment of `positions`, with a FIN behind it where `flags` has [`HAS_FIN`]; the half by [`IS_RESPONSE`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn packet_segment(
    skb: *mut __sk_buff,
    positions: u64,
    place: u32,
    flags: u32,
    now_ns: u64,
) -> u32 {
    let (sequence, length) = (positions as u32, (positions >> 32) as u32);
    let Some(packet) = Packet::find(skb, place) else { return NOT_TAKEN };
    let http = packet.state();
    let side = flags & IS_RESPONSE;
    let incoming = place & EARLY == 0 && (http.owner & 1 != 0) != (side == RESPONSE);
    let mark = &raw mut *claims::mark(http, side);
    if incoming {
        let mut waits = 0;
        while packet_wait(skb, side, place) == 0 {
            waits += 1;
            if waits >= WAITS {
                claims::missed(packet.state(), side);
                return TAKEN;
            }
        }
    }
    if !is_recent(packet.state(), now_ns) {
        packet.state().long_way = (now_ns >> 20) as u16;
    }
    if flags & HAS_FIN != 0 {
        order::fin_came(packet.order_of(side), sequence.wrapping_add(length));
    }
    let taken = if length != 0 {
        packets::segment(&packet, side, sequence, length, now_ns);
        ends(&packet, side, sequence, length, now_ns)
    } else {
        TAKEN
    };
    if order::fin_passes(packet.order_of(side)) {
        fin(&packet, side, now_ns);
    }
    if incoming {
        // SAFETY: as above.
        unsafe { claim::leave(mark) };
    }
    taken
}

/// Calls of [`packet_wait`] for one segment, 5 ms in all: another CPU takes one for 64 KiB of small requests. What takes longer is
/// missed, and its exchange lost.
const WAITS: u32 = 32;

functions! { __sk_buff, Packet::find;
    /// [`claim::wait`]; 1 if the half is claimed.
    fn packet_wait(packet, side) {
        let mark = &raw mut *claims::mark(packet.state(), side);
        // SAFETY: the storage lives as long as its socket, which the running program holds.
        u32::from(unsafe { claim::wait(mark) })
    } else 0;
}

/// In the flags of [`packet_segment`]: the bytes are the server's.
pub(crate) const IS_RESPONSE: u32 = RESPONSE;
/// In the flags of [`packet_segment`]: a FIN is behind the bytes.
pub(crate) const HAS_FIN: u32 = 2;

/// What is the same at the end of each segment that was framed.
#[inline(always)]
fn ends(packet: &Packet, side: u32, sequence: u32, length: u32, now_ns: u64) -> u32 {
    claims::check(packet.state(), side, now_ns);
    let new = order::new_bytes(packet.order_of(side), sequence, length);
    let http = packet.state();
    output::count_bytes(http.protocol(side), new);
    output::count_losses(http, side);
    if http.over != 0 { OVER } else { TAKEN }
}

/// Draws the consequence of a FIN whose turn has come.
#[inline(always)]
fn fin(packet: &Packet, side: u32, now_ns: u64) {
    let http = packet.state();
    if side == REQUEST {
        life_cycle::client_closes(http, now_ns);
        return;
    }
    if let Some(next) = shortcut::settle(http) {
        packet.order_of(RESPONSE).next = next;
    }
    if life_cycle::server_closes(packet.state(), now_ns) {
        // SAFETY: the storage lives as long as its socket, which the running program holds.
        unsafe { output::send(&raw mut (*packet.followed).http, RESPONSE) };
    }
    output::count_losses(packet.state(), RESPONSE);
}
