//! Segments by their sequence numbers: what was seen before is skipped, holes are bridged where positions allow it.
//! What comes ahead of a hole waits as an interval; where framing needed bytes that never came in order, it is lost.

use super::{
    Calls, body, events, shortcut,
    state::{
        AHEAD, COUNTING_GUESS, FRESH, FRESH_NEXT, GUESSING, Half, Http, Interval, LOST, MID_LINE, REQUEST,
        RESPONSE, Stage, keep, kept,
    },
};

/// Steps that one call of [`steps`] takes.
const STEPS: u32 = 64;
/// Calls of [`steps`] for one segment: heads of 64 KiB, and 64 KiB of small chunks, need fewer.
const ROUNDS: u32 = 24;

/// Takes a segment of `length` bytes at `sequence` that is none of the shortcut's.
#[inline(always)]
pub fn segment<C: Calls>(calls: &C, side: u32, sequence: u32, length: u32, now_ns: u64) {
    if side & 1 == RESPONSE {
        shortcut::settle(calls.http());
    }
    in_any_order(calls, side, sequence, length, now_ns);
    let half = &mut calls.http().halves[(side & 1) as usize];
    half.long_way = half.next;
    if side & 1 == RESPONSE {
        shortcut::open(calls.http());
    }
}

#[inline(always)]
fn in_any_order<C: Calls>(calls: &C, side: u32, sequence: u32, length: u32, now_ns: u64) {
    let http = calls.http();
    http.halves[(side & 1) as usize].now_ns = now_ns;
    let half = &mut http.halves[(side & 1) as usize];
    let seen = half.next.wrapping_sub(sequence);
    if half.waiting == 0 && seen.cast_signed() >= 0 {
        if seen < length {
            advance(calls, side, seen, length);
            calls.http().halves[(side & 1) as usize].next = sequence.wrapping_add(length);
        }
        return;
    }
    half.stop = 0;
    let mut round = 0;
    while round < AHEAD + 2 {
        let offset = calls.disorder(side, sequence, length);
        if offset == READ_CHUNKS {
            let read = calls.read_chunks(side, length);
            if read != Interval::UNREAD {
                let half = &mut calls.http().halves[(side & 1) as usize];
                half.flags = half.flags & !GUESSING | COUNTING_GUESS;
                calls.read_chunks(side, length);
            }
            wait(calls.http(), side, sequence, length, read);
            return;
        }
        if offset >= length {
            return;
        }
        let stop = calls.http().halves[(side & 1) as usize].stop;
        advance(calls, side, offset, stop);
        round += 1;
    }
}

/// The most bytes that may pass behind one segment that went the long way: positions are told from each other up to 2^30.
const MOST_BEHIND: u32 = 1 << 29;

/// Whether a message begins with the segment at `sequence`, and nothing is to be done before its head is read.
#[inline(always)]
pub fn is_next_message(http: &Http, side: u32, sequence: u32) -> bool {
    let half = &http.halves[(side & 1) as usize];
    half.next == sequence
        && half.stage == Stage::Start as u8
        && half.waiting == 0
        && sequence.wrapping_sub(half.long_way) < MOST_BEHIND
        && http.early == 0
        && http.upgraded == 0
}

/// Frames the segment's bytes from `offset` to `end`.
#[inline(always)]
fn advance<C: Calls>(calls: &C, side: u32, offset: u32, end: u32) {
    if side & 1 == RESPONSE {
        body::segment_of_body(calls.http());
    }
    // Nearly every segment takes one step.
    let offset = first_step(calls, side, offset, end);
    rest(calls, side, offset, end);
}

/// Frames what the first step left, from `offset` to `end`.
#[inline(always)]
pub fn rest<C: Calls>(calls: &C, side: u32, offset: u32, end: u32) {
    let mut offset = offset;
    let mut round = 0;
    while round < ROUNDS && offset < end {
        offset = calls.steps(side, offset, end);
        round += 1;
    }
    if offset < end {
        let http = calls.http();
        // A WebSocket's end is still to be told.
        let lost = if http.upgraded != 0 { Stage::Frameless } else { Stage::Resync };
        let half = &mut http.halves[(side & 1) as usize];
        half.flags |= LOST;
        half.stage = lost as u8;
    }
}

/// The first step, if it is one of the frequent ones.
#[inline(always)]
fn first_step<C: Calls>(calls: &C, side: u32, offset: u32, end: u32) -> u32 {
    let stage = stage(calls.http(), side);
    if stage == Stage::Start as u8 {
        calls.lines(side, offset, end)
    } else if stage == Stage::ChunkSize as u8 || is_skipped(stage) {
        calls.body(side, offset, end)
    } else {
        offset
    }
}

/// The half's [`Stage`]. That the connection became a WebSocket is known to the other half first.
#[inline(always)]
fn stage(http: &mut Http, side: u32) -> u8 {
    let upgraded = side & 1 == REQUEST && http.upgraded != 0;
    let half = &mut http.halves[(side & 1) as usize];
    if upgraded && half.stage == Stage::Start as u8 {
        half.stage = Stage::Frame as u8;
    }
    kept(&half.stage)
}

/// Takes steps from `offset` to `end` of the segment; how far they came.
#[inline(always)]
pub fn steps<C: Calls>(calls: &C, side: u32, offset: u32, end: u32) -> u32 {
    let mut offset = offset;
    let mut taken = 0;
    while taken < STEPS {
        offset = calls.step(side, offset, end);
        if offset >= end {
            break;
        }
        taken += 1;
    }
    offset
}

/// Takes one step from `offset` of the segment on; where the next one begins.
#[inline(always)]
pub fn step<C: Calls>(calls: &C, side: u32, offset: u32, end: u32) -> u32 {
    let stage = stage(calls.http(), side);
    if stage == Stage::ChunkSize as u8 || is_skipped(stage) {
        calls.body(side, offset, end)
    } else if stage == Stage::Start as u8 || stage == Stage::Head as u8 || stage == Stage::Trailer as u8 {
        calls.lines(side, offset, end)
    } else if stage == Stage::Frame as u8 {
        calls.frame(side, offset, end)
    } else {
        calls.resync(side, offset, end)
    }
}

/// Whether the bytes of a stage are passed over.
#[inline(always)]
pub const fn is_skipped(stage: u8) -> bool {
    const SKIPPED: u32 = 1 << Stage::Length as u32
        | 1 << Stage::Chunk as u32
        | 1 << Stage::ChunkEnd as u32
        | 1 << Stage::UntilClose as u32
        | 1 << Stage::Payload as u32
        | 1 << Stage::Opaque as u32
        | 1 << Stage::Frameless as u32;
    SKIPPED >> (stage & 31) & 1 != 0
}

/// The segment is done with.
pub const DONE: u32 = u32::MAX;
/// The segment came too early and may be whole chunks.
pub const READ_CHUNKS: u32 = u32::MAX - 1;

/// Looks at a segment where an earlier one is missing, or was: the offset from which its bytes are to be framed, up to
/// [`Half::stop`], after which it is to be looked at again; or [`DONE`], or [`READ_CHUNKS`].
#[inline(always)]
pub fn disorder(http: &mut Http, side: u32, sequence: u32, length: u32) -> u32 {
    let half = &mut http.halves[(side & 1) as usize];
    if half.stop == 0 {
        let hole = sequence.wrapping_sub(half.next);
        if hole.cast_signed() > 0 && !bridge(http, side, hole) {
            let half = &mut http.halves[(side & 1) as usize];
            if waits(half, sequence) {
                return DONE;
            }
            if half.stage == Stage::ChunkSize as u8 && half.carried == 0 {
                half.flags |= GUESSING;
                return READ_CHUNKS;
            }
            wait(http, side, sequence, length, Interval::UNREAD);
            return DONE;
        }
    } else {
        half.next = sequence.wrapping_add(half.stop);
        let mut taken = 0;
        while taken < AHEAD {
            take_up(http, side);
            let found = kept(&http.halves[(side & 1) as usize].found);
            if found.start == found.end {
                break;
            }
            taken += 1;
        }
    }
    let half = &mut http.halves[(side & 1) as usize];
    let from = half.next.wrapping_sub(sequence);
    if from >= length {
        // All of it was seen, or what follows was: it may end in front of an interval.
        return DONE;
    }
    let stop = nearest(half, sequence.wrapping_add(length)).wrapping_sub(sequence);
    let stop = if stop > length { length } else { stop };
    if from >= stop {
        return DONE;
    }
    half.stop = stop;
    from
}

/// Passes over `hole` bytes that did not come, if framing needs none of them.
#[inline(always)]
fn bridge(http: &mut Http, side: u32, hole: u32) -> bool {
    let half = &mut http.halves[(side & 1) as usize];
    let stage = half.stage;
    let passes = stage == Stage::UntilClose as u8
        || stage >= Stage::Resync as u8
        || (is_skipped(stage) && u64::from(hole) <= half.remaining);
    if passes {
        let unseen = half.flags & (FRESH | FRESH_NEXT);
        if unseen != 0 {
            // Whether it holds an event was to be seen in what is missing; most chunks do.
            half.flags = half.flags & !(FRESH | FRESH_NEXT | MID_LINE) | LOST;
            if unseen & FRESH != 0 {
                events::happened(http);
            }
        }
        let half = &mut http.halves[(side & 1) as usize];
        half.next = half.next.wrapping_add(hole);
        body::skip(http, side, 0, hole);
    } else if side & 1 == REQUEST && stage == Stage::Start as u8 && kept(&http.unexpected) != 0 {
        // The server has answered what was never seen here: nothing will fill the hole.
        lose(http, REQUEST, hole);
        http.awaiting = 0;
        // It was counted with its answer.
        http.halves[0].flags = 0;
        return true;
    }
    passes
}

/// Gives up on the message at hand; the next one is found by its beginning. Whose answer is whose must stay certain:
/// behind a response that was lost there may be others, and behind a request its answer.
#[inline(always)]
fn lose(http: &mut Http, side: u32, skipped: u32) {
    let outstanding = http.outstanding();
    let requests = kept(&http.requests);
    let half = &mut http.halves[(side & 1) as usize];
    let counted = half.stage != Stage::Start as u8 && half.stage != Stage::Head as u8;
    half.next = half.next.wrapping_add(skipped);
    half.flags = LOST;
    half.stage = Stage::Resync as u8;
    half.carried = 0;
    half.waiting = 0;
    for interval in &mut half.ahead {
        keep(&mut interval.start, 0);
        keep(&mut interval.end, 0);
    }
    if side & 1 == RESPONSE {
        if outstanding > 1 {
            http.give_up();
        }
        keep(&mut http.responses, requests);
    } else if !counted {
        keep(&mut http.unexpected, 0);
        http.awaiting = 1;
    }
}

/// Where the nearest interval ahead begins, or `end`.
#[inline(always)]
fn nearest(half: &Half, end: u32) -> u32 {
    let mut nearest = end;
    for interval in &half.ahead {
        let ahead = interval.start.wrapping_sub(half.next).cast_signed();
        if interval.start != interval.end
            && ahead >= 0
            && interval.start.wrapping_sub(nearest).cast_signed() < 0
        {
            nearest = interval.start;
        }
    }
    nearest
}

/// Goes on behind an interval that the half has come to; [`Half::found`] says whether there was one.
#[inline(never)]
fn take_up(http: &mut Http, side: u32) {
    find_reached(http, side);
    let half = &mut http.halves[(side & 1) as usize];
    let found = kept(&half.found);
    let next = kept(&half.next);
    if found.start == found.end {
        return;
    }
    let length = found.end.wrapping_sub(next);
    let begins_here = found.start == next && half.carried == 0;
    if found.read != Interval::UNREAD && half.stage == Stage::ChunkSize as u8 && begins_here {
        half.next = found.end;
        if found.read == Interval::LAST {
            body::message_ended(http, side);
        }
    } else if !bridge(http, side, length) {
        lose(http, side, length);
    }
}

/// Makes [`Half::found`] an interval that goes on behind what was framed, or an empty one, and forgets those that do
/// not.
#[inline(never)]
fn find_reached(http: &mut Http, side: u32) {
    let half = &mut http.halves[(side & 1) as usize];
    let next = kept(&half.next);
    keep(&mut half.found, Interval::NONE);
    for index in 0..AHEAD {
        let interval = kept(&half.ahead[index]);
        if interval.start == interval.end || interval.start.wrapping_sub(next).cast_signed() > 0 {
            continue;
        }
        if interval.end.wrapping_sub(next).cast_signed() > 0 {
            let found = kept(&half.found);
            if found.start != found.end {
                continue;
            }
            keep(&mut half.found, interval);
        }
        keep(&mut half.ahead[index], Interval::NONE);
        let waiting = kept(&half.waiting);
        keep(&mut half.waiting, waiting.wrapping_sub(1));
    }
}

/// Remembers a segment that came too early.
#[inline(never)]
fn wait(http: &mut Http, side: u32, sequence: u32, length: u32, read: u32) {
    let half = &mut http.halves[(side & 1) as usize];
    half.flags &= !(GUESSING | COUNTING_GUESS);
    let end = sequence.wrapping_add(length);
    keep(&mut half.place, AHEAD as u32);
    for index in 0..AHEAD {
        let interval = kept(&half.ahead[index]);
        if interval.start == interval.end {
            keep(&mut half.place, index as u32);
        } else if interval.end == sequence
            && interval.read != Interval::LAST
            && (interval.read == Interval::UNREAD) == (read == Interval::UNREAD)
        {
            // What follows another needs no room of its own: one late segment costs one interval.
            keep(&mut half.ahead[index], Interval { start: interval.start, end, read });
            return;
        }
    }
    let free = kept(&half.place) as usize;
    if free >= AHEAD {
        let skipped = end.wrapping_sub(half.next);
        lose(http, side, skipped);
        return;
    }
    keep(&mut half.ahead[free & (AHEAD - 1)], Interval { start: sequence, end, read });
    half.waiting += 1;
}

/// Whether the segment's beginning has waited before.
#[inline(always)]
fn waits(half: &Half, sequence: u32) -> bool {
    half.ahead.iter().any(|interval| {
        interval.start != interval.end
            && sequence.wrapping_sub(interval.start).cast_signed() >= 0
            && interval.end.wrapping_sub(sequence).cast_signed() > 0
    })
}

/// Reads a segment from its beginning as chunks; what it is, as in [`Interval::read`].
#[inline(always)]
pub fn read_chunks<C: Calls>(calls: &C, side: u32, length: u32) -> u32 {
    let index = (side & 1) as usize;
    calls.http().halves[index].stage = Stage::ChunkSize as u8;
    let mut offset = 0;
    let mut taken = 0;
    while taken < STEPS && offset < length {
        offset = calls.step(side, offset, length);
        let stage = kept(&calls.http().halves[index].stage);
        if stage == Stage::Start as u8 || stage == Stage::Resync as u8 {
            break;
        }
        taken += 1;
    }
    let half = &mut calls.http().halves[index];
    let read = if offset != length || half.carried != 0 {
        Interval::UNREAD
    } else if half.stage == Stage::Start as u8 {
        Interval::LAST
    } else if half.stage == Stage::ChunkSize as u8 {
        Interval::CHUNKS
    } else {
        Interval::UNREAD
    };
    half.stage = Stage::ChunkSize as u8;
    half.carried = 0;
    half.flags &= !FRESH;
    read
}
