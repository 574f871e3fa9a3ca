//! One CPU at a time for what a connection receives: packets are received outside of their socket's lock.
//! A sender on the same host that moves to another CPU has its packets received on both, and they may run at once.

use crate::{
    framer::RESPONSE,
    http1::{
        life_cycle,
        state::{Half, Http},
    },
    volatile::{set_volatile, volatile},
};

/// Finds the place where a CPU marks that it has the half that is received: on a line that is written with the half's segments anyway.
#[inline(always)]
pub fn mark(http: &mut Http, side: u32) -> &mut u8 {
    if side & 1 == RESPONSE { &mut http.response_claim } else { &mut http.request_claim }
}

/// Gives up on the message at hand if a segment of the same half was taken on another CPU in the meantime: what the two have
/// written may be anything. Each segment begins with its time, `now_ns`.
#[inline(always)]
pub fn check(http: &mut Http, side: u32, now_ns: u64) {
    let half: &Half = &http.halves[(side & 1) as usize];
    if volatile(&half.now_ns) != now_ns {
        life_cycle::lost(http, side);
    }
}

/// Notes that a segment could not be taken because another CPU had the half for too long: to the framer it never came, and
/// a message that ends without it is lost.
#[inline(always)]
pub fn missed(http: &mut Http, side: u32) {
    set_volatile(&mut http.shortcut.missed[(side & 1) as usize], 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framer::REQUEST;
    use crate::http1::state::Stage;

    #[test]
    fn a_segment_that_was_not_alone_loses_its_message() {
        for side in [REQUEST, RESPONSE] {
            let mut http = Http::EMPTY;
            http.halves[side as usize].now_ns = 7;
            check(&mut http, side, 7);
            assert_eq!(http.halves[side as usize].stage, 0);
            check(&mut http, side, 6);
            assert_eq!(http.halves[side as usize].stage, Stage::Resync as u8);
        }
    }
}
