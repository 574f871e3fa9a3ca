//! Finds the next message where nothing is known, and streams that were under way before anybody looked.
//! Only the beginning of a segment counts as the beginning of a message: text inside a body is not taken for one.

use super::{
    Calls, body, events,
    exchange::{Body, Outcome, PREEXISTING},
    first_line,
    head::fill,
    length,
    names::{self, EVENT_FIELDS},
    state::{ADOPTING, DATA, FRESH, Half, Http, LOAD, REQUEST, RESPONSE, Stage, keep, kept},
};

/// Looks at the segment's beginning; where framing goes on.
#[inline(always)]
pub fn resync<C: Calls>(calls: &C, side: u32, offset: u32, end: u32) -> u32 {
    let http = calls.http();
    let outstanding = http.outstanding();
    let half = &mut http.halves[(side & 1) as usize];
    half.carried = 0;
    let Some(filled) = fill(half, calls, offset, end, LOAD) else { return end };
    if side & 1 == REQUEST {
        if !first_line::begins_request(half) || (http.awaiting != 0 && kept(&http.unexpected) == 0) {
            return end;
        }
        let half = &mut http.halves[0];
        http.awaiting = 0;
        half.stage = Stage::Start as u8;
        // What was under way when framing was lost is not told apart from this any more.
        if kept(&http.halves[1].stage) == Stage::Resync as u8 {
            let requests = kept(&http.requests);
            keep(&mut http.responses, requests);
        }
        return offset;
    }
    if names::VERSION.begins_exactly(half.words(DATA)) {
        if outstanding > 0 {
            half.stage = Stage::Start as u8;
            return offset;
        }
        http.answered_unseen(RESPONSE);
        return end;
    }
    if http.preexisting == 0 || outstanding > 0 {
        return end;
    }
    let Some((bytes, data)) = body::whole_size_line(half, filled) else { return end };
    let half = &mut http.halves[1];
    half.stage = Stage::Chunk as u8;
    half.remaining = bytes;
    half.flags |= FRESH | ADOPTING;
    offset.wrapping_add(data - DATA)
}

/// Looks at the beginning of the chunk behind what seemed to be a size line.
#[inline(always)]
pub fn adopt(http: &mut Http) {
    let now_ns = http.halves[RESPONSE as usize].now_ns;
    let half = &mut http.halves[1];
    half.flags &= !ADOPTING;
    let Some(body) = body_of(half) else {
        half.stage = Stage::Resync as u8;
        return;
    };
    let requests = kept(&http.requests);
    let exchange = &mut http.exchange;
    length::clear_response(exchange);
    exchange.started_ns = now_ns;
    exchange.index = requests;
    exchange.flags = PREEXISTING | u16::from(http.flags);
    exchange.path_length = 0;
    keep(&mut exchange.request_ns, 0);
    keep(&mut exchange.request_bytes, 0);
    exchange.method = names::OTHER;
    exchange.body = body as u8;
    exchange.outcome = Outcome::Open as u8;
    exchange.in_flight = 1;
    exchange.received = 0;
    keep(&mut http.responses, requests);
    keep(&mut http.begun, requests.wrapping_add(1));
    keep(&mut http.requests, requests.wrapping_add(1));
    http.preexisting = 0;
    events::happened(http);
}

/// What kind of stream begins a chunk as the window does.
#[inline(always)]
fn body_of(half: &Half) -> Option<Body> {
    let words = half.words(DATA);
    if EVENT_FIELDS.iter().any(|field| field.begins_exactly(words)) {
        Some(Body::Sse)
    } else if names::JSON.begins_exactly(words) {
        Some(Body::Ndjson)
    } else {
        None
    }
}
