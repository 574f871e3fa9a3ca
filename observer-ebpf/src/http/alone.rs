//! Two CPUs at one half of a connection: packets are received outside of their socket's lock.
//! A sender on the same host that moves to another CPU has its packets received on both, and they may run at once.

use super::state::{Half, Http, LOST, REQUEST, RESPONSE, Stage, kept};

/// Where a CPU marks that it has the half that is received: on a line that is written with the half's segments anyway.
#[inline(always)]
pub fn guard(http: &mut Http, side: u32) -> &mut u8 {
    if side & 1 == RESPONSE { &mut http.response_guard } else { &mut http.halves[REQUEST as usize].guard }
}

/// Gives up on the message at hand if a segment of the same half was taken on another CPU in the meantime: what the two have
/// written may be anything. Each segment begins with its time, `now_ns`.
#[inline(always)]
pub fn check(http: &mut Http, side: u32, now_ns: u64) {
    let half: &mut Half = &mut http.halves[(side & 1) as usize];
    if kept(&half.now_ns) != now_ns {
        half.flags |= LOST;
        half.stage = Stage::Resync as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_was_not_alone_loses_its_message() {
        for side in [REQUEST, RESPONSE] {
            let mut http = Http::EMPTY;
            http.halves[side as usize].now_ns = 7;
            check(&mut http, side, 7);
            assert_eq!((http.halves[side as usize].stage, http.halves[side as usize].flags), (0, 0));
            check(&mut http, side, 6);
            let half = &http.halves[side as usize];
            assert_eq!((half.stage, half.flags), (Stage::Resync as u8, LOST));
        }
    }
}
