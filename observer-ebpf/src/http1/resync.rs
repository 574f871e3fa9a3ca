//! Finds the next message where nothing is known, and streams that were under way before anybody looked.
//! Only the beginning of a segment counts as the beginning of a message: text inside a body is not taken for one.

use super::{
    Context, body, first_line,
    first_line::Beginning,
    life_cycle,
    load::fill,
    size_line,
    state::{ADOPTING, DATA, EXPECTING, Half, LOAD, LOOKING, REQUEST, RESPONSE, Stage},
};
use crate::volatile::volatile;

/// Looks at the segment's beginning; where framing goes on.
#[inline(always)]
pub fn resync<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    let http = context.http();
    let outstanding = http.outstanding();
    let half = &mut http.halves[(side & 1) as usize];
    if half.flags & EXPECTING != 0 {
        half.flags &= !EXPECTING;
        let waits = side & 1 == REQUEST && outstanding > 0 && volatile(&http.continued) != 0;
        if waits || half.stage == Stage::Start as u8 || half.untouched == 0 {
            return offset;
        }
        return instead_of_body(context, side, offset, end);
    }
    let carried = half.carried & 0xff;
    let Some(filled) = fill(half, context, offset, end, LOAD) else { return end };
    let begins = if side & 1 == REQUEST {
        first_line::may_begin_request(half, filled)
    } else {
        first_line::may_begin_response(half, filled)
    };
    let half = &mut context.http().halves[(side & 1) as usize];
    if begins == Beginning::Undecided {
        carry(half, carried, filled);
        return end;
    }
    half.carried = 0;
    if begins == Beginning::No && carried != 0 {
        // What was carried was the end of something else; the segment may begin a message by itself.
        return offset;
    }
    let http = context.http();
    if side & 1 == REQUEST {
        if begins == Beginning::No || !life_cycle::may_take_up_request(http) {
            life_cycle::request_bytes_hidden(http);
            return end;
        }
        take_up(&mut http.halves[0], carried);
        return offset;
    }
    if begins == Beginning::Yes {
        if life_cycle::may_take_up_response(http) {
            take_up(&mut http.halves[1], carried);
            return offset;
        }
        return end;
    }
    let half = &mut http.halves[1];
    if http.preexisting == 0 || outstanding > 0 {
        return end;
    }
    let Some((bytes, data)) = size_line::whole(half, filled) else { return end };
    let half = &mut http.halves[1];
    half.stage = Stage::Chunk as u8;
    half.remaining = bytes;
    half.flags |= LOOKING | ADOPTING;
    offset.wrapping_add(data - DATA)
}

/// Looks at the first bytes that come where a body is due that may have been left out: then they are the next message's, whose
/// beginning is told by its method or version. Where that is cut, it is carried to the next segment.
#[inline(always)]
fn instead_of_body<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    let half = &mut context.http().halves[(side & 1) as usize];
    let carried = half.carried & 0xff;
    let Some(filled) = fill(half, context, offset, end, LOAD) else { return offset };
    let begins = if side & 1 == REQUEST {
        first_line::may_begin_request(half, filled)
    } else {
        first_line::may_begin_response(half, filled)
    };
    let half = &mut context.http().halves[(side & 1) as usize];
    if begins == Beginning::Undecided {
        half.flags |= EXPECTING;
        carry(half, carried, filled);
        return end;
    }
    if begins == Beginning::Yes && side & 1 == REQUEST && context.http().outstanding() > 0 {
        // The answer in place of which it comes was not seen, and a body may begin like a request.
        life_cycle::request_is_ambiguous(context.http());
        return end;
    }
    if begins == Beginning::Yes {
        if side & 1 == RESPONSE {
            // It had no body.
            body::message_ended(context.http(), RESPONSE);
        }
        take_up(&mut context.http().halves[(side & 1) as usize], carried);
        return offset;
    }
    if half.stage == Stage::ChunkSize as u8 {
        // What was carried is of the size line.
        return offset;
    }
    half.carried = 0;
    if carried != 0 {
        body::skip(context.http(), side, 0, carried);
    }
    offset
}

/// Carries the beginning of what may be a message, up to `filled`, to the next segment.
#[inline(always)]
fn carry(half: &mut Half, carried: u32, filled: u32) {
    if carried == 0 {
        half.started_ns = half.now_ns;
    }
    half.carried = filled - DATA;
}

/// Goes on with a message whose first bytes were carried.
#[inline(always)]
fn take_up(half: &mut Half, carried: u32) {
    half.stage = Stage::Start as u8;
    half.head = 0;
    half.carried = carried;
}
