//! Finds the next message where nothing is known, and streams that were under way before anybody looked.
//! Only the beginning of a segment counts as the beginning of a message: text inside a body is not taken for one.

use super::{
    Context, body, first_line,
    first_line::Beginning,
    life_cycle,
    load::fill,
    names, size_line,
    state::{ADOPTING, DATA, EXPECTING, LOAD, LOOKING, REQUEST, RESPONSE, Stage},
};

/// Looks at the segment's beginning; where framing goes on.
#[inline(always)]
pub fn resync<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    let http = context.http();
    let outstanding = http.outstanding();
    let half = &mut http.halves[(side & 1) as usize];
    if half.flags & EXPECTING != 0 {
        half.flags &= !EXPECTING;
        let waits = side & 1 == REQUEST && outstanding > 0;
        if waits || half.stage == Stage::Start as u8 || half.untouched == 0 {
            return offset;
        }
        return instead_of_body(context, side, offset, end);
    }
    half.carried = 0;
    let Some(filled) = fill(half, context, offset, end, LOAD) else { return end };
    if side & 1 == REQUEST {
        if !first_line::begins_request(half) || !life_cycle::may_take_up_request(http) {
            life_cycle::request_bytes_hidden(http);
            return end;
        }
        http.halves[0].stage = Stage::Start as u8;
        return offset;
    }
    if names::VERSION.begins_exactly(half.words(DATA)) {
        if outstanding == 0 {
            return end;
        }
        half.stage = Stage::Start as u8;
        return offset;
    }
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
        if carried == 0 {
            let now_ns = half.now_ns;
            half.started_ns = now_ns;
        }
        half.flags |= EXPECTING;
        half.carried = filled - DATA;
        return end;
    }
    if begins == Beginning::Yes {
        if side & 1 == RESPONSE {
            // It had no body.
            body::message_ended(context.http(), RESPONSE);
        }
        let half = &mut context.http().halves[(side & 1) as usize];
        half.stage = Stage::Start as u8;
        half.head = 0;
        half.carried = carried;
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
