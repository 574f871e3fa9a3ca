//! What follows a head: how long the body is, or what the connection becomes (RFC 9112 section 6.3).
//! Also what an exchange is before anything of its response is known.

use super::{
    body,
    exchange::{self, Body},
    names,
    state::{
        AHEAD_SENT, BAD, CHUNKED, CODED, ENCODED, EVENTS, Http, LENGTH, LINES_OF_JSON, LOST, REQUEST,
        SEND_AHEAD, Stage, WAITING, WEBSOCKET, keep, kept,
    },
};

/// The head, or the trailer, has come to its end.
#[inline(always)]
pub fn head_ended(http: &mut Http, side: u32) {
    let half = &mut http.halves[(side & 1) as usize];
    if half.stage == Stage::Trailer as u8 {
        body::message_ended(http, side);
        return;
    }
    let head = half.head;
    if head & BAD != 0 || (head & LENGTH != 0 && head & (CHUNKED | CODED) != 0) {
        half.flags |= LOST;
        http.give_up();
        return;
    }
    if side & 1 == REQUEST { request_head_ended(http, head) } else { response_head_ended(http, head) }
}

#[inline(always)]
fn request_head_ended(http: &mut Http, head: u16) {
    let half = &mut http.halves[REQUEST as usize];
    if half.flags & AHEAD_SENT != 0 {
        half.flags &= !AHEAD_SENT;
        half.send |= SEND_AHEAD;
        if head & LENGTH != 0 {
            http.ahead.request_bytes = half.length;
        }
    }
    if head & CHUNKED != 0 {
        half.stage = Stage::ChunkSize as u8;
    } else if head & CODED != 0 {
        // RFC 9112 section 6.3: the length of such a request cannot be determined.
        half.flags |= LOST;
        http.give_up();
    } else if head & LENGTH != 0 && half.length > 0 {
        half.stage = Stage::Length as u8;
        half.remaining = half.length;
    } else {
        body::message_ended(http, REQUEST);
    }
}

/// Makes the response's part of the exchange that of the next response; all of it, if its request was sent ahead.
#[inline(always)]
pub fn begin_response(http: &mut Http) {
    let responses = kept(&http.responses);
    keep(&mut http.begun, responses.wrapping_add(1));
    let exchange = &mut http.exchange;
    clear_response(exchange);
    exchange.flags = http.flags.into();
    if exchange.index != responses && kept(&http.sent_ahead) & 1 << (responses & (WAITING - 1)) != 0 {
        exchange.flags |= exchange::AHEAD;
        exchange.index = responses;
        exchange.path_length = 0;
        keep(&mut exchange.request_ns, 0);
        keep(&mut exchange.request_bytes, 0);
        exchange.received = 0;
    }
}

/// RFC 9112 section 6.3 in its order.
#[inline(always)]
fn response_head_ended(http: &mut Http, head: u16) {
    let half = &mut http.halves[1];
    let status = half.status;
    if status < 200 && status != 101 {
        half.stage = Stage::Start as u8;
        return;
    }
    let (tunnel, bodiless) = if http.answers_latest() {
        (http.exchange.method == names::CONNECT, http.exchange.method == names::HEAD)
    } else {
        let bit = 1_u64 << (kept(&http.responses) & (WAITING - 1));
        (kept(&http.tunnels) & bit != 0, kept(&http.bodiless) & bit != 0)
    };
    let half = &mut http.halves[1];
    let started_ns = half.started_ns;
    begin_response(http);
    let Http { exchange, halves, .. } = http;
    let half = &mut halves[1];
    exchange.status = status;
    exchange.response_ns = started_ns;
    if head & ENCODED != 0 {
        exchange.flags |= exchange::ENCODED;
    }
    if status == 101 && head & WEBSOCKET != 0 {
        exchange.body = Body::WebSocket as u8;
        half.stage = Stage::Frame as u8;
        http.upgraded = 1;
        return;
    }
    if status == 101 || (tunnel && status < 300) {
        body::message_ended(http, 1);
        http.give_up();
        return;
    }
    if bodiless || status == 204 || status == 304 {
        body::message_ended(http, 1);
        return;
    }
    exchange.body = if head & EVENTS != 0 {
        Body::Sse as u8
    } else if head & LINES_OF_JSON != 0 {
        Body::Ndjson as u8
    } else if head & LENGTH != 0 {
        Body::Known as u8
    } else {
        Body::Unknown as u8
    };
    if head & CHUNKED != 0 {
        half.stage = Stage::ChunkSize as u8;
    } else if head & LENGTH == 0 {
        half.stage = Stage::UntilClose as u8;
    } else if half.length == 0 {
        body::message_ended(http, 1);
    } else {
        half.stage = Stage::Length as u8;
        half.remaining = half.length;
    }
}

/// Makes the response's part of an exchange that of one of which nothing is known.
#[inline(always)]
pub fn clear_response(exchange: &mut exchange::Exchange) {
    // One by one: together they become a call of `memset`, which is a loop over bytes in BPF.
    keep(&mut exchange.response_ns, 0);
    keep(&mut exchange.event_ns, 0);
    keep(&mut exchange.last_event_ns, 0);
    keep(&mut exchange.ended_ns, 0);
    keep(&mut exchange.response_bytes, 0);
    exchange.status = 0;
    exchange.close_code = 0;
    exchange.body = Body::Known as u8;
    exchange.outcome = exchange::Outcome::Open as u8;
    if exchange.sent != 0 {
        exchange.sent = 0;
        for count in &mut exchange.gaps {
            keep(count, 0);
        }
        keep(&mut exchange.stalls, 0);
        keep(&mut exchange.gap_sum_ns, 0);
    }
}
