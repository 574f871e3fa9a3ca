//! Steps through the bytes of a segment: each takes what the stage of its half asks for.
//! How many there may be is bounded by what one segment can hold.

use super::{
    Context, body, life_cycle,
    state::{EXPECTING, Half, Http, LOOKING, REQUEST, Stage, TAIL},
};
use crate::volatile::volatile;

/// Steps that one call of [`steps`] takes, and calls of it that [`rest`] makes. All in all 200,704: with BIG TCP a segment may have
/// 512 KiB (`GSO_MAX_SIZE`, include/linux/netdevice.h), and what is shorter than three bytes goes by many at once. Not three
/// functions: each is a frame of 32 bytes on the stack, of which Linux 6.1 takes 512 ("combined stack size of 8 calls is 544").
const STEPS: u32 = 448;

/// Takes the first step, if it is one of the frequent ones.
#[inline(always)]
pub fn first<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    let http = context.http();
    let stage = stage(http, side);
    if http.halves[(side & 1) as usize].flags & (LOOKING | TAIL | EXPECTING) != 0 {
        offset
    } else if stage == Stage::Start as u8 {
        context.lines(side, offset, end)
    } else if stage == Stage::ChunkSize as u8 || body::is_skipped(stage) {
        context.body(side, offset, end)
    } else {
        offset
    }
}

/// Frames what the first step left, from `offset` to `end`.
#[inline(always)]
pub fn rest<C: Context>(context: &C, side: u32, offset: u32, end: u32) {
    let mut offset = offset;
    let mut round = 0;
    while round < STEPS && offset < end {
        offset = context.steps(side, offset, end);
        round += 1;
    }
    if offset < end {
        let http = context.http();
        life_cycle::lost(http, side);
    }
}

/// The half's [`Stage`]. That the connection became a WebSocket is known to the other half first.
#[inline(always)]
fn stage(http: &mut Http, side: u32) -> u8 {
    let upgraded = side & 1 == REQUEST && http.upgraded != 0;
    let half: &mut Half = &mut http.halves[(side & 1) as usize];
    if upgraded && half.stage == Stage::Start as u8 {
        half.stage = Stage::Frame as u8;
    }
    volatile(&half.stage)
}

/// Takes steps from `offset` to `end` of the segment; how far they came.
#[inline(always)]
pub fn steps<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    let mut offset = offset;
    let mut taken = 0;
    while taken < STEPS {
        offset = context.step(side, offset, end);
        if offset >= end {
            break;
        }
        taken += 1;
    }
    offset
}

/// Takes one step from `offset` of the segment on; where the next one begins.
#[inline(always)]
pub fn step<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    let http = context.http();
    let stage = stage(http, side);
    let flags = http.halves[(side & 1) as usize].flags;
    if flags & (LOOKING | TAIL) != 0 {
        context.look(side, offset, end)
    } else if flags & EXPECTING != 0 {
        context.resync(side, offset, end)
    } else if stage == Stage::ChunkSize as u8 || body::is_skipped(stage) {
        let many = stage == Stage::ChunkSize as u8;
        let goes_on = if many { context.chunks(side, offset, end) } else { offset };
        if goes_on < end { context.body(side, goes_on, end) } else { goes_on }
    } else if stage == Stage::Start as u8 || stage == Stage::Head as u8 || stage == Stage::Trailer as u8 {
        context.lines(side, offset, end)
    } else if stage == Stage::Frame as u8 {
        let goes_on = context.frames(side, offset, end);
        if goes_on < end { context.frame(side, goes_on, end) } else { goes_on }
    } else {
        context.resync(side, offset, end)
    }
}
