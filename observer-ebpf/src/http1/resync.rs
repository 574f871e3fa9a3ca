//! Finds the next message where nothing is known, and streams that were under way before anybody looked.
//! Only the beginning of a segment counts as the beginning of a message: text inside a body is not taken for one.

use super::{
    Context, first_line, life_cycle,
    load::fill,
    names, size_line,
    state::{ADOPTING, DATA, EXPECTING, LOAD, LOOKING, REQUEST, Stage},
};

/// Looks at the segment's beginning; where framing goes on.
#[inline(always)]
pub fn resync<C: Context>(context: &C, side: u32, offset: u32, end: u32) -> u32 {
    let http = context.http();
    let outstanding = http.outstanding();
    let half = &mut http.halves[(side & 1) as usize];
    if half.flags & EXPECTING != 0 {
        half.flags &= !EXPECTING;
        if outstanding > 0 || half.stage == Stage::Start as u8 {
            return offset;
        }
        return instead_of_body(context, offset, end);
    }
    half.carried = 0;
    let Some(filled) = fill(half, context, offset, end, LOAD) else { return end };
    if side & 1 == REQUEST {
        if !first_line::begins_request(half) || !life_cycle::may_take_up_request(http) {
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

/// Looks at the first bytes that come where the body is due of a request whose client waited for `100 Continue` and got its
/// answer instead: it may leave the body out (RFC 9110 section 10.1.1), and then the next request comes.
#[inline(always)]
fn instead_of_body<C: Context>(context: &C, offset: u32, end: u32) -> u32 {
    let half = &mut context.http().halves[REQUEST as usize];
    if half.untouched == 0 || fill(half, context, offset, end, LOAD).is_none() {
        return offset;
    }
    if first_line::begins_request(half) {
        half.stage = Stage::Start as u8;
    }
    offset
}
