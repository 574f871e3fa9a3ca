//! What follows a head: how long the body is, or what the connection becomes (RFC 9112 section 6.3).
//! What begins and ends by that is written by `life_cycle`.

use super::{
    body, life_cycle, names,
    state::{
        AHEAD_SENT, BAD, CHUNKED, CODED, ENCODED, EVENTS, EXPECTED, EXPECTING, Http, LENGTH, LINES_OF_JSON,
        NOBODYS, REQUEST, RESPONSE, Stage, WEBSOCKET,
    },
};
use crate::records::exchange::{self, Body};

/// Draws the consequence of a head, or a trailer, that has come to its end.
#[inline(always)]
pub(super) fn head_ended(http: &mut Http, side: u32) {
    let half = &mut http.halves[(side & 1) as usize];
    if half.stage == Stage::Trailer as u8 {
        body::message_ended(http, side);
        return;
    }
    let head = half.head;
    if head & BAD != 0 || (head & LENGTH != 0 && head & (CHUNKED | CODED) != 0) {
        if side & 1 == REQUEST {
            life_cycle::request_is_ambiguous(http);
        } else {
            life_cycle::response_lost(http);
        }
        return;
    }
    if side & 1 == REQUEST { request_head_ended(http, head) } else { response_head_ended(http, head) }
}

#[inline(always)]
fn request_head_ended(http: &mut Http, head: u16) {
    let half = &mut http.halves[REQUEST as usize];
    if half.flags & AHEAD_SENT != 0 {
        half.flags &= !AHEAD_SENT;
        if head & LENGTH != 0 {
            http.ahead.request_bytes = half.length;
        }
        life_cycle::request_goes_ahead(http);
    }
    let half = &mut http.halves[REQUEST as usize];
    half.untouched = 1;
    if head & EXPECTED != 0 {
        half.flags |= EXPECTING;
        http.continued = 0;
    }
    let half = &mut http.halves[REQUEST as usize];
    if head & CHUNKED != 0 {
        half.stage = Stage::ChunkSize as u8;
    } else if head & CODED != 0 {
        // RFC 9112 section 6.3: the length of such a request cannot be determined.
        life_cycle::request_is_ambiguous(http);
    } else if head & LENGTH != 0 && half.length > 0 {
        half.stage = Stage::Length as u8;
        half.remaining = half.length;
    } else {
        body::message_ended(http, REQUEST);
    }
}

/// RFC 9112 section 6.3 in its order.
#[inline(always)]
fn response_head_ended(http: &mut Http, head: u16) {
    let half = &mut http.halves[RESPONSE as usize];
    let status = half.status;
    if status < 200 && status != 101 {
        half.stage = Stage::Start as u8;
        life_cycle::interim_ended(http);
        return;
    }
    let (tunnel, bodiless) = life_cycle::asked_for(http, names::CONNECT, names::HEAD);
    let half = &mut http.halves[RESPONSE as usize];
    let started_ns = half.started_ns;
    life_cycle::response_begins(http);
    let Http { exchange, halves, .. } = http;
    let half = &mut halves[RESPONSE as usize];
    half.field = 0;
    exchange.status = status;
    exchange.response_ns = started_ns;
    if head & ENCODED != 0 {
        exchange.flags |= exchange::ENCODED;
    }
    if status == 101 && half.flags & NOBODYS == 0 && head & WEBSOCKET != 0 {
        exchange.body = Body::WebSocket as u8;
        half.stage = Stage::Frame as u8;
        http.upgraded = 1;
        return;
    }
    if status == 101 || (tunnel && status < 300) {
        body::message_ended(http, RESPONSE);
        life_cycle::tunnel_begins(http);
        return;
    }
    if bodiless || status == 204 || status == 304 {
        body::message_ended(http, RESPONSE);
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
    half.untouched = 1;
    if half.flags & NOBODYS != 0 {
        // It may be one to HEAD, which has none of the body that it tells of.
        half.flags |= EXPECTING;
    }
    if head & CHUNKED != 0 {
        half.stage = Stage::ChunkSize as u8;
    } else if head & LENGTH == 0 {
        half.stage = Stage::UntilClose as u8;
    } else if half.length == 0 {
        body::message_ended(http, RESPONSE);
    } else {
        half.stage = Stage::Length as u8;
        half.remaining = half.length;
    }
}
