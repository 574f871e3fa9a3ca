//! HTTP in the segments of TCP: what order asks of this framer, and the segment as a whole.
//! The one place that knows both; the framer itself never sees a sequence number but the shortcut's.

use super::{
    Context, body, events, life_cycle, shortcut,
    state::{COUNTING_GUESS, EXPECTING, GUESSING, LOOKING, RESPONSE, Stage, TAIL},
};
use crate::{
    framer::{Framer, ahead},
    order::{self, Order, Ordered},
    volatile::{set_volatile, volatile},
};

/// A connection of packets: the framer's context, and where order stands.
pub trait Packets: Context {
    /// Where the side stands.
    #[expect(
        clippy::mut_from_ref,
        reason = "it is behind the kernel's pointer, and taken anew after every call"
    )]
    fn order(&self, side: u32) -> &mut Order;
    /// [`order::disorder`], and [`Context::send`] if that left something to send
    fn disorder(&self, side: u32, sequence: u32, length: u32) -> u32;
    /// [`read_ahead`]
    fn read_ahead(&self, side: u32, length: u32) -> u32;
}

/// Gives a connection of packets to order.
#[derive(Debug)]
pub struct InOrder<'a, P>(pub &'a P);

impl<P: Packets> Framer for InOrder<'_, P> {
    #[inline(always)]
    fn frame(&self, side: u32, offset: u32, end: u32) {
        if side & 1 == RESPONSE {
            body::segment_of_body(self.0.http());
        }
        // Nearly every segment takes one step.
        let offset = self.0.first(side, offset, end);
        if offset < end {
            // Both by a call: inside the loop of `order::segment` a verifier follows their branches in each round.
            self.0.rest(side, offset, end);
        }
    }

    #[inline(always)]
    fn pass(&self, side: u32, bytes: u32) -> bool {
        let http = self.0.http();
        let half = &http.halves[(side & 1) as usize];
        let stage = half.stage;
        let within = u64::from(bytes) <= half.remaining;
        // What is missing may be the next message, or an event, whose end is in the last two bytes of its chunk.
        let unseen = half.flags & (EXPECTING | LOOKING) != 0
            || (half.flags & TAIL != 0 && u64::from(bytes) + 2 > half.remaining);
        let missed = side & 1 == RESPONSE && volatile(&http.shortcut.missed[RESPONSE as usize]) != 0;
        let passes = stage == Stage::UntilClose as u8
            || stage > Stage::Resync as u8
            || (stage == Stage::Resync as u8 && life_cycle::may_miss(http, side))
            || (body::is_skipped(stage) && within && !unseen && !missed);
        if passes {
            body::skip(http, side, 0, bytes);
        }
        passes
    }

    #[inline(always)]
    fn lose(&self, side: u32) {
        let http = self.0.http();
        life_cycle::lost(http, side);
    }

    #[inline(always)]
    fn begins_ahead(&self, side: u32) -> bool {
        let half = &mut self.0.http().halves[(side & 1) as usize];
        let begins = half.stage == Stage::ChunkSize as u8 && half.carried == 0;
        if begins {
            half.flags |= GUESSING;
        }
        begins
    }

    #[inline(always)]
    fn read_ahead(&self, side: u32, length: u32) -> u32 {
        let read = self.0.read_ahead(side, length);
        if read != ahead::UNREAD {
            let half = &mut self.0.http().halves[(side & 1) as usize];
            half.flags = half.flags & !GUESSING | COUNTING_GUESS;
            self.0.read_ahead(side, length);
        }
        self.0.http().halves[(side & 1) as usize].flags &= !(GUESSING | COUNTING_GUESS);
        read
    }

    #[inline(always)]
    fn take_read(&self, side: u32, read: u32) -> bool {
        let http = self.0.http();
        let half = &http.halves[(side & 1) as usize];
        if half.stage != Stage::ChunkSize as u8 || half.carried != 0 {
            return false;
        }
        if read == ahead::LAST {
            body::message_ended(http, side);
        }
        true
    }
}

impl<P: Packets> Ordered for InOrder<'_, P> {
    #[inline(always)]
    fn order(&self, side: u32) -> &mut Order {
        self.0.order(side)
    }

    #[inline(always)]
    fn disorder(&self, side: u32, sequence: u32, length: u32) -> u32 {
        self.0.disorder(side, sequence, length)
    }

    #[inline(always)]
    fn read_segment_ahead(&self, side: u32, length: u32) -> u32 {
        self.read_ahead(side, length)
    }
}

/// Takes a segment of `length` bytes at `sequence` that is none of the shortcut's.
#[inline(always)]
pub fn segment<P: Packets>(packets: &P, side: u32, sequence: u32, length: u32, now_ns: u64) {
    if side & 1 == RESPONSE
        && let Some(next) = shortcut::settle(packets.http())
    {
        packets.order(RESPONSE).next = next;
    }
    set_volatile(&mut packets.http().halves[(side & 1) as usize].now_ns, now_ns);
    order::segment(&InOrder(packets), side, sequence, length);
    let order = packets.order(side);
    order.long_way = order.next;
    let (next, waiting) = (order.next, order.waiting);
    let http = packets.http();
    // While segments wait behind it, what was missed is missing still.
    if waiting == 0 && volatile(&http.shortcut.missed[(side & 1) as usize]) != 0 {
        set_volatile(&mut http.shortcut.missed[(side & 1) as usize], 0);
    }
    if side & 1 == RESPONSE && waiting == 0 {
        shortcut::open(packets.http(), next);
    }
}

/// Tells whether a message begins with the segment at `sequence`, and nothing is to be done before its head is read.
#[inline(always)]
pub fn is_next_message<P: Packets>(packets: &P, side: u32, sequence: u32) -> bool {
    let http = packets.http();
    let half = &http.halves[(side & 1) as usize];
    order::is_next(packets.order(side), sequence) && half.stage == Stage::Start as u8 && http.upgraded == 0
}

/// Takes a segment with which a message begins, for which [`is_next_message`] holds.
#[inline(always)]
pub fn message<P: Packets>(packets: &P, side: u32, sequence: u32, length: u32, now_ns: u64) {
    packets.http().halves[(side & 1) as usize].now_ns = now_ns;
    let goes_on = packets.lines(side, 0, length);
    if goes_on < length {
        packets.rest(side, goes_on, length);
    }
    // Not before: a CPU that has the segment behind it would take that for the next while this one is framed.
    packets.order(side).next = sequence.wrapping_add(length);
}

/// Reads a segment from its beginning as chunks, ahead of a hole; what it is ([`ahead`]).
#[inline(always)]
pub fn read_ahead<C: Context>(context: &C, side: u32, length: u32) -> u32 {
    /// Steps of one segment: a chunk takes three at the most.
    const STEPS: u32 = 64;
    let index = (side & 1) as usize;
    let half = &mut context.http().halves[index];
    half.stage = Stage::ChunkSize as u8;
    // Servers write whole events; where the one in the hole ends is seen when that is filled.
    let field = half.field;
    half.field = events::field::EVENT;
    let mut offset = 0;
    let mut taken = 0;
    while taken < STEPS && offset < length {
        offset = context.step(side, offset, length);
        let stage = volatile(&context.http().halves[index].stage);
        if stage == Stage::Start as u8 || stage == Stage::Resync as u8 {
            break;
        }
        taken += 1;
    }
    let half = &mut context.http().halves[index];
    let read = if offset != length || half.carried != 0 {
        ahead::UNREAD
    } else if half.stage == Stage::Start as u8 {
        ahead::LAST
    } else if half.stage == Stage::ChunkSize as u8 {
        ahead::PIECES
    } else {
        ahead::UNREAD
    };
    half.stage = Stage::ChunkSize as u8;
    half.carried = 0;
    half.field = field;
    half.flags &= !(LOOKING | TAIL);
    read
}
