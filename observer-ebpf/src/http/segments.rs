//! Segments by their sequence numbers: what was seen before is skipped, holes are bridged where positions allow it.
//! What comes ahead of a hole waits as an interval; where framing needed bytes that never came in order, it is lost.

use super::{
    body, events,
    exchange::INCOMPLETE,
    head::{self, Segment},
    resync,
    state::{
        AHEAD, COUNTING_GUESS, FRESH, GUESSING, Half, Http, Interval, LOST, REQUEST, RESPONSE, Stage, keep,
        kept,
    },
};

/// Steps that one segment may take: heads of 64 KiB, and 64 KiB of small chunks, take fewer.
pub const STEPS: u32 = 1024;

/// How the steps are made: in the kernel half each is a function that the verifier looks at once.
pub trait Steps {
    /// The connection's state.
    #[expect(
        clippy::mut_from_ref,
        reason = "the state is behind the kernel's pointer, made anew for each use"
    )]
    fn http(&self) -> &mut Http;
    /// One call of [`step`].
    fn step(&self, side: u32, offset: u32, end: u32) -> u32;
    /// One call of [`disorder`].
    fn disorder(&self, side: u32, sequence: u32, length: u32);
    /// Sends what [`Half::send`] asks for.
    fn send(&self, side: u32);
}

/// Takes a segment of `length` bytes at `sequence`.
#[inline(always)]
pub fn segment<T: Steps>(steps: &T, side: u32, sequence: u32, length: u32, now_ns: u64) {
    let http = steps.http();
    http.now_ns[(side & 1) as usize] = now_ns;
    let half = &mut http.halves[(side & 1) as usize];
    let seen = half.next.wrapping_sub(sequence);
    if half.waiting != 0 || seen.cast_signed() < 0 {
        steps.disorder(side, sequence, length);
    } else if seen < length {
        advance(steps, side, seen, length);
        steps.http().halves[(side & 1) as usize].next = sequence.wrapping_add(length);
    }
}

/// Frames the segment's bytes from `offset` to `end`.
#[inline(always)]
fn advance<T: Steps>(steps: &T, side: u32, offset: u32, end: u32) {
    let http = steps.http();
    if side & 1 == RESPONSE {
        body::segment_of_body(http);
    }
    let mut offset = offset;
    let mut step = 0;
    while step < STEPS {
        let http = steps.http();
        let half = &mut http.halves[(side & 1) as usize];
        // Bytes that nobody looks at need no call.
        if half.flags & FRESH == 0 && is_skipped(kept(&half.stage)) {
            offset = body::skip(http, side, offset, end);
        } else {
            offset = steps.step(side, offset, end);
        }
        if steps.http().halves[(side & 1) as usize].send != 0 {
            steps.send(side);
        }
        if offset >= end {
            return;
        }
        step += 1;
    }
    let half = &mut steps.http().halves[(side & 1) as usize];
    half.flags |= LOST;
    half.stage = Stage::Resync as u8;
}

/// Whether the bytes of a stage are passed over.
#[inline(always)]
const fn is_skipped(stage: u8) -> bool {
    const SKIPPED: u32 = 1 << Stage::Length as u32
        | 1 << Stage::Chunk as u32
        | 1 << Stage::ChunkEnd as u32
        | 1 << Stage::UntilClose as u32
        | 1 << Stage::Payload as u32
        | 1 << Stage::Opaque as u32
        | 1 << Stage::Frameless as u32;
    SKIPPED >> (stage & 31) & 1 != 0
}

/// Takes one step from `offset` of the segment on, with bytes that are looked at; where the next one begins.
#[inline(always)]
pub fn step<S: Segment>(http: &mut Http, side: u32, segment: &S, offset: u32, end: u32) -> u32 {
    if offset >= end {
        return end;
    }
    if side & 1 == REQUEST && http.upgraded != 0 && http.halves[0].stage == Stage::Start as u8 {
        http.halves[0].stage = Stage::Frame as u8;
    }
    let half = &mut http.halves[(side & 1) as usize];
    let stage = half.stage;
    if half.flags & FRESH != 0 {
        body::look_again(http, segment, offset, end);
        return offset;
    }
    if stage == Stage::Start as u8 || stage == Stage::Head as u8 || stage == Stage::Trailer as u8 {
        let goes_on = head::lines(http, side, segment, offset, end);
        if side & 1 == RESPONSE && goes_on < end {
            body::segment_of_body(http);
        }
        goes_on
    } else if stage == Stage::ChunkSize as u8 {
        body::chunk_size(http, side, segment, offset, end)
    } else if stage == Stage::Frame as u8 {
        events::frame(http, side, segment, offset, end)
    } else if stage == Stage::Resync as u8 {
        resync::resync(http, side, segment, offset, end)
    } else {
        body::skip(http, side, offset, end)
    }
}

/// Takes a segment where an earlier one is missing, or was.
#[inline(always)]
pub fn disorder<T: Steps>(steps: &T, side: u32, sequence: u32, length: u32) {
    let http = steps.http();
    let half = &mut http.halves[(side & 1) as usize];
    let end = sequence.wrapping_add(length);
    let hole = sequence.wrapping_sub(half.next);
    if hole.cast_signed() > 0 && !bridge(http, side, hole) {
        wait(steps, side, sequence, length);
        return;
    }
    if steps.http().halves[(side & 1) as usize].send != 0 {
        steps.send(side);
    }
    let mut round = 0;
    while round <= AHEAD {
        let half = &mut steps.http().halves[(side & 1) as usize];
        let from = kept(&half.next).wrapping_sub(sequence);
        if from.cast_signed() >= 0 && from < length {
            let stop = nearest(half, end).wrapping_sub(sequence);
            let stop = if stop > length { length } else { stop };
            if from < stop {
                advance(steps, side, from, stop);
                keep(&mut steps.http().halves[(side & 1) as usize].next, sequence.wrapping_add(stop));
            }
        }
        if !take_up(steps.http(), side) {
            return;
        }
        if steps.http().halves[(side & 1) as usize].send != 0 {
            steps.send(side);
        }
        round += 1;
    }
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
        half.flags &= !FRESH;
        half.next = half.next.wrapping_add(hole);
        body::skip(http, side, 0, hole);
    } else if side & 1 == REQUEST && stage == Stage::Start as u8 && kept(&http.unexpected) != 0 {
        // The server has answered what was never seen here: nothing will fill the hole.
        keep(&mut http.unexpected, 0);
        lose(&mut http.halves[0], hole);
        return true;
    }
    passes
}

/// Gives up on the message at hand; the next one is found by its beginning.
#[inline(always)]
fn lose(half: &mut Half, skipped: u32) {
    half.next = half.next.wrapping_add(skipped);
    half.flags = LOST;
    half.stage = Stage::Resync as u8;
    half.carried = 0;
    half.waiting = 0;
    half.ahead = [Interval { start: 0, end: 0, read: 0 }; AHEAD];
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

/// Goes on behind an interval that the half has come to; whether there was one.
#[inline(always)]
fn take_up(http: &mut Http, side: u32) -> bool {
    let half = &mut http.halves[(side & 1) as usize];
    let next = kept(&half.next);
    let mut found = Interval { start: 0, end: 0, read: 0 };
    for interval in &mut half.ahead {
        if interval.start == interval.end || interval.start.wrapping_sub(next).cast_signed() > 0 {
            continue;
        }
        if interval.end.wrapping_sub(next).cast_signed() > 0 && found.start == found.end {
            found = *interval;
        } else if interval.end.wrapping_sub(next).cast_signed() > 0 {
            continue;
        }
        *interval = Interval { start: 0, end: 0, read: 0 };
        half.waiting = half.waiting.wrapping_sub(1);
    }
    if found.start == found.end {
        return false;
    }
    let length = found.end.wrapping_sub(next);
    if found.read != Interval::UNREAD
        && half.stage == Stage::ChunkSize as u8
        && half.carried == 0
        && found.start == next
    {
        half.next = found.end;
        if found.read == Interval::LAST {
            body::message_ended(http, side);
        }
    } else if !bridge(http, side, length) {
        lose(&mut http.halves[(side & 1) as usize], length);
        if side & 1 == RESPONSE {
            http.exchange.flags |= INCOMPLETE;
        }
    }
    true
}

/// Remembers a segment that came too early. One of whole chunks is counted now.
#[inline(always)]
fn wait<T: Steps>(steps: &T, side: u32, sequence: u32, length: u32) {
    let half = &mut steps.http().halves[(side & 1) as usize];
    let end = sequence.wrapping_add(length);
    let mut free = AHEAD;
    for (index, interval) in half.ahead.iter().enumerate() {
        if interval.start == interval.end {
            free = index;
        } else if sequence.wrapping_sub(interval.start).cast_signed() >= 0
            && interval.end.wrapping_sub(sequence).cast_signed() > 0
        {
            // Seen before, at least its beginning.
            return;
        }
    }
    if free >= AHEAD {
        let skipped = end.wrapping_sub(half.next);
        lose(half, skipped);
        return;
    }
    let read = if half.stage == Stage::ChunkSize as u8 && half.carried == 0 {
        guess(steps, side, length)
    } else {
        Interval::UNREAD
    };
    let half = &mut steps.http().halves[(side & 1) as usize];
    half.ahead[free & (AHEAD - 1)] = Interval { start: sequence, end, read };
    half.waiting += 1;
}

/// Reads a segment as chunks that begin and end with it; first without counting them.
#[inline(always)]
fn guess<T: Steps>(steps: &T, side: u32, length: u32) -> u32 {
    let index = (side & 1) as usize;
    let half = &mut steps.http().halves[index];
    half.flags |= GUESSING;
    let read = guess_steps(steps, side, length);
    steps.http().halves[index].flags &= !GUESSING;
    if read != Interval::UNREAD {
        steps.http().halves[index].flags |= COUNTING_GUESS;
        guess_steps(steps, side, length);
        steps.http().halves[index].flags &= !COUNTING_GUESS;
    }
    read
}

#[inline(always)]
fn guess_steps<T: Steps>(steps: &T, side: u32, length: u32) -> u32 {
    let index = (side & 1) as usize;
    steps.http().halves[index].stage = Stage::ChunkSize as u8;
    let mut offset = 0;
    let mut step = 0;
    while step < STEPS && offset < length {
        offset = steps.step(side, offset, length);
        let stage = kept(&steps.http().halves[index].stage);
        if stage == Stage::Start as u8 || stage == Stage::Resync as u8 {
            break;
        }
        step += 1;
    }
    let half = &mut steps.http().halves[index];
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
