//! How exchanges end that do not end by themselves: with a FIN, or with their connection.

use super::{
    body,
    exchange::{Body, Outcome},
    length, shortcut,
    state::{CLOSING, Http, REQUEST, RESPONSE, Stage, kept},
};

/// The side's FIN passed, behind all of its bytes. Whether something is to be sent by the response half.
#[inline(always)]
pub fn fin(http: &mut Http, side: u32, now_ns: u64) -> bool {
    if side & 1 == REQUEST {
        // A client may close its half and wait for the answer: what that meant shows at the end.
        if http.client_closed_ns == 0 {
            http.client_closed_ns = now_ns;
        }
        return false;
    }
    let outcome = if http.client_closed_ns != 0 { Outcome::ClientAbort } else { Outcome::ServerAbort };
    closed(http, outcome, now_ns)
}

/// The connection ended, and `outcome` says by whom. Whether something is to be sent by the response half.
#[inline(always)]
pub fn closed(http: &mut Http, outcome: Outcome, now_ns: u64) -> bool {
    shortcut::settle(http);
    let stage = http.halves[RESPONSE as usize].stage;
    if http.outstanding() == 0 || stage == Stage::Opaque as u8 || stage == Stage::Resync as u8 {
        return false;
    }
    if stage == Stage::Start as u8 || stage == Stage::Head as u8 {
        length::begin_response(http);
    }
    let (outcome, ended_ns) =
        if stage == Stage::UntilClose as u8 && outcome as u8 == Outcome::ServerAbort as u8 {
            // Which is how such a body ends.
            (Outcome::Completed, now_ns)
        } else if http.exchange.body == Body::WebSocket as u8
            && (http.halves[0].flags | http.halves[1].flags) & CLOSING != 0
        {
            (Outcome::Completed, now_ns)
        } else if outcome as u8 == Outcome::ClientAbort as u8 && http.client_closed_ns != 0 {
            (outcome, http.client_closed_ns)
        } else {
            (outcome, now_ns)
        };
    body::exchange_ended(http, RESPONSE, outcome, ended_ns);
    // Whatever else was asked for is never answered.
    http.responses = kept(&http.requests).wrapping_sub(1);
    http.give_up();
    true
}
