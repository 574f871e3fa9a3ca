//! TCP's order: sequence numbers, holes, what was seen before, what came ahead. Knows nothing of what the bytes mean.
//! Bytes reach the framer once and in order; where it needed some that never came so, it is told.

use crate::{
    framer::{Framer, ahead},
    volatile::{set_volatile, volatile},
};

/// Segments ahead of a hole that are remembered.
pub const AHEAD: usize = 4;

/// A segment that came before the one that precedes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Interval {
    /// Sequence number of its first byte.
    pub start: u32,
    /// Sequence number behind its last byte; equal to `start` where the place is free.
    pub end: u32,
    /// How the framer read it ([`ahead`]).
    pub read: u32,
}

impl Interval {
    /// A free place.
    pub const NONE: Self = Self { start: 0, end: 0, read: 0 };
}

/// Where one direction of a connection stands.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Order {
    /// The sequence number of the next byte.
    pub next: u32,
    /// [`Order::next`] when a segment last went the long way.
    pub long_way: u32,
    /// Behind the highest byte that came.
    pub highest: u32,
    /// The sequence number of the FIN, where `has_fin` says that one came.
    pub fin: u32,
    /// 1 where a FIN came whose turn has not come yet; 2 once it has.
    pub has_fin: u8,
    /// How many of `ahead` are in use.
    pub waiting: u8,
    /// Padding, always zero.
    pub padding: [u8; 2],
    /// Where the framing of the segment at hand pauses, 0 before it has begun.
    pub stop: u32,
    /// A place among `ahead`. In memory so that the verifier takes all of its values for one.
    pub place: u32,
    /// Segments ahead of a hole.
    pub ahead: [Interval; AHEAD],
    /// The one of them that framing has come to. In memory as `place` is.
    pub found: Interval,
    /// Padding to the end of the cache line.
    pub padding_of_found: [u8; 40],
}

const _: () = assert!(size_of::<Order>() == 128);

/// In [`Order::has_fin`]: its turn has not come yet.
pub const FIN_WAITS: u8 = 1;
/// In [`Order::has_fin`]: its turn has come.
pub const FIN_PASSED: u8 = 2;

/// A connection whose segments are ordered before they are framed.
pub trait Ordered: Framer {
    /// Where the side stands.
    #[expect(
        clippy::mut_from_ref,
        reason = "it is behind the kernel's pointer, and taken anew after every call"
    )]
    fn order(&self, side: u32) -> &mut Order;
    /// [`disorder`], as a function that the verifier sees by itself.
    fn disorder(&self, side: u32, sequence: u32, length: u32) -> u32;
    /// [`Framer::read_ahead`], likewise.
    fn read_segment_ahead(&self, side: u32, length: u32) -> u32;
}

/// Takes a segment of `length` bytes at `sequence`.
#[inline(always)]
pub fn segment<O: Ordered>(ordered: &O, side: u32, sequence: u32, length: u32) {
    let order = ordered.order(side);
    let seen = order.next.wrapping_sub(sequence);
    if order.waiting == 0 && seen.cast_signed() >= 0 {
        if seen < length {
            ordered.frame(side, seen, length);
            ordered.order(side).next = sequence.wrapping_add(length);
        }
        return;
    }
    order.stop = 0;
    let mut round = 0;
    while round < AHEAD + 2 {
        let offset = ordered.disorder(side, sequence, length);
        if offset == READ_AHEAD {
            let read = ordered.read_segment_ahead(side, length);
            wait(ordered, side, sequence, length, read);
            return;
        }
        if offset >= length {
            return;
        }
        let stop = ordered.order(side).stop;
        ordered.frame(side, offset, stop);
        round += 1;
    }
}

/// Adds `length` bytes at `sequence` to what came, and returns how many of them had not come before. A hole in front of
/// them counts with them: what is in it will come.
#[inline(always)]
pub fn new_bytes(order: &mut Order, sequence: u32, length: u32) -> u32 {
    let end = sequence.wrapping_add(length);
    let new = end.wrapping_sub(order.highest);
    if new.cast_signed() <= 0 {
        return 0;
    }
    order.highest = end;
    new
}

/// The most bytes that may pass behind one segment that went the long way: positions are told from each other up to 2^30.
const MOST_BEHIND: u32 = 1 << 29;

/// Tells whether the segment at `sequence` is the next, and nothing is to be done for order before it is framed.
#[inline(always)]
pub fn is_next(order: &Order, sequence: u32) -> bool {
    order.next == sequence
        && order.waiting == 0
        && order.has_fin == 0
        && sequence.wrapping_sub(order.long_way) < MOST_BEHIND
}

/// Takes note of a FIN behind the byte before `sequence`.
#[inline(always)]
pub fn fin_came(order: &mut Order, sequence: u32) {
    if order.has_fin == 0 {
        order.fin = sequence;
        order.has_fin = FIN_WAITS;
    }
}

/// Tells once whether the FIN's turn has come: all bytes before it have.
#[inline(always)]
pub fn fin_passes(order: &mut Order) -> bool {
    let passes = order.has_fin == FIN_WAITS && order.next.wrapping_sub(order.fin).cast_signed() >= 0;
    if passes {
        order.has_fin = FIN_PASSED;
    }
    passes
}

/// The segment is done with.
pub const DONE: u32 = u32::MAX;
/// The segment came too early, and the framer may read it as it is.
pub const READ_AHEAD: u32 = u32::MAX - 1;

/// Looks at a segment where an earlier one is missing, or was: the offset from which its bytes are to be framed, up to
/// [`Order::stop`], after which it is to be looked at again; or [`DONE`], or [`READ_AHEAD`].
#[inline(always)]
pub fn disorder<O: Ordered>(ordered: &O, side: u32, sequence: u32, length: u32) -> u32 {
    let order = ordered.order(side);
    if order.stop == 0 {
        let hole = sequence.wrapping_sub(order.next);
        if hole.cast_signed() > 0 {
            if ordered.pass(side, hole) {
                let order = ordered.order(side);
                order.next = order.next.wrapping_add(hole);
            } else {
                if waits(ordered.order(side), sequence) {
                    return DONE;
                }
                if ordered.begins_ahead(side) {
                    return READ_AHEAD;
                }
                wait(ordered, side, sequence, length, ahead::UNREAD);
                return DONE;
            }
        }
    } else {
        order.next = sequence.wrapping_add(order.stop);
        let mut taken = 0;
        while taken < AHEAD {
            take_up(ordered, side);
            let found = volatile(&ordered.order(side).found);
            if found.start == found.end {
                break;
            }
            taken += 1;
        }
    }
    let order = ordered.order(side);
    let from = order.next.wrapping_sub(sequence);
    if from >= length {
        // All of it was seen, or what follows was: it may end in front of an interval.
        return DONE;
    }
    let stop = nearest(order, sequence.wrapping_add(length)).wrapping_sub(sequence);
    let stop = if stop > length { length } else { stop };
    if from >= stop {
        return DONE;
    }
    order.stop = stop;
    from
}

/// Gives up on what is at hand, `skipped` bytes in all. What waits behind them came already and will not come again, so it goes
/// on waiting.
#[inline(always)]
fn lose<O: Ordered>(ordered: &O, side: u32, skipped: u32) {
    let order = ordered.order(side);
    order.next = order.next.wrapping_add(skipped);
    forget_passed(order);
    ordered.lose(side);
}

/// Forgets the intervals that framing has passed.
#[inline(never)]
fn forget_passed(order: &mut Order) {
    let next = volatile(&order.next);
    for index in 0..AHEAD {
        let interval = volatile(&order.ahead[index]);
        if interval.start != interval.end && interval.end.wrapping_sub(next).cast_signed() <= 0 {
            set_volatile(&mut order.ahead[index], Interval::NONE);
            let waiting = volatile(&order.waiting);
            set_volatile(&mut order.waiting, waiting.wrapping_sub(1));
        }
    }
}

/// Where the nearest interval ahead begins, or `end`.
#[inline(always)]
fn nearest(order: &Order, end: u32) -> u32 {
    let mut nearest = end;
    for interval in &order.ahead {
        let ahead = interval.start.wrapping_sub(order.next).cast_signed();
        if interval.start != interval.end
            && ahead >= 0
            && interval.start.wrapping_sub(nearest).cast_signed() < 0
        {
            nearest = interval.start;
        }
    }
    nearest
}

/// Goes on behind an interval that the side has come to; [`Order::found`] says whether there was one.
#[inline(always)]
fn take_up<O: Ordered>(ordered: &O, side: u32) {
    find_reached(ordered.order(side));
    let order = ordered.order(side);
    let found = volatile(&order.found);
    let next = volatile(&order.next);
    if found.start == found.end {
        return;
    }
    let length = found.end.wrapping_sub(next);
    if found.read != ahead::UNREAD && found.start == next && ordered.take_read(side, found.read) {
        ordered.order(side).next = found.end;
    } else if ordered.pass(side, length) {
        let order = ordered.order(side);
        order.next = order.next.wrapping_add(length);
    } else {
        lose(ordered, side, length);
    }
}

/// Makes [`Order::found`] an interval that goes on behind what was framed, or an empty one, and forgets those that do
/// not.
#[inline(never)]
fn find_reached(order: &mut Order) {
    let next = volatile(&order.next);
    set_volatile(&mut order.found, Interval::NONE);
    for index in 0..AHEAD {
        let interval = volatile(&order.ahead[index]);
        if interval.start == interval.end || interval.start.wrapping_sub(next).cast_signed() > 0 {
            continue;
        }
        if interval.end.wrapping_sub(next).cast_signed() > 0 {
            let found = volatile(&order.found);
            if found.start != found.end {
                continue;
            }
            set_volatile(&mut order.found, interval);
        }
        set_volatile(&mut order.ahead[index], Interval::NONE);
        let waiting = volatile(&order.waiting);
        set_volatile(&mut order.waiting, waiting.wrapping_sub(1));
    }
}

/// Remembers a segment that came too early.
#[inline(always)]
fn wait<O: Ordered>(ordered: &O, side: u32, sequence: u32, length: u32, read: u32) {
    let order = ordered.order(side);
    if !find_place(order, sequence, length, read) {
        let skipped = sequence.wrapping_add(length).wrapping_sub(order.next);
        lose(ordered, side, skipped);
    }
}

/// Puts an interval where there is a place for it; false where there is none.
#[inline(never)]
fn find_place(order: &mut Order, sequence: u32, length: u32, read: u32) -> bool {
    let end = sequence.wrapping_add(length);
    set_volatile(&mut order.place, AHEAD as u32);
    for index in 0..AHEAD {
        let interval = volatile(&order.ahead[index]);
        if interval.start == interval.end {
            set_volatile(&mut order.place, index as u32);
        } else if interval.end == sequence
            && interval.read != ahead::LAST
            && (interval.read == ahead::UNREAD) == (read == ahead::UNREAD)
        {
            // What follows another needs no room of its own: one late segment costs one interval.
            set_volatile(&mut order.ahead[index], Interval { start: interval.start, end, read });
            return true;
        }
    }
    let free = volatile(&order.place) as usize;
    if free >= AHEAD {
        return false;
    }
    set_volatile(&mut order.ahead[free & (AHEAD - 1)], Interval { start: sequence, end, read });
    order.waiting += 1;
    true
}

/// Tells whether the segment's beginning has waited before.
#[inline(always)]
fn waits(order: &Order, sequence: u32) -> bool {
    order.ahead.iter().any(|interval| {
        interval.start != interval.end
            && sequence.wrapping_sub(interval.start).cast_signed() >= 0
            && interval.end.wrapping_sub(sequence).cast_signed() > 0
    })
}
