//! How much reading each target may ask for: time and questions that come back by and by.
//! A target that made a reader wait in vain is left alone for longer each time.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::targets::TargetId;

/// Time that may be used at once, and what comes back of it in each second.
const TIME: Duration = Duration::from_secs(3);
const TIME_PER_SECOND: Duration = Duration::from_millis(60);

/// How long a target is left alone whose files did not answer, the first time and at the most.
const ALONE: Duration = Duration::from_secs(10);
const LONGEST_ALONE: Duration = Duration::from_mins(10);

/// Targets that are remembered; those that have used nothing lately are forgotten first.
const REMEMBERED: usize = 4096;

/// The shares of all targets.
#[derive(Debug, Default)]
pub(super) struct Shares(HashMap<TargetId, Share>);

#[derive(Debug)]
struct Share {
    used: Duration,
    as_of: Instant,
    alone_until: Option<Instant>,
    late: u32,
}

impl Share {
    /// Lets come back what has.
    fn refill(&mut self, now: Instant) {
        let seconds = now.duration_since(self.as_of).as_secs_f64();
        self.used = self.used.saturating_sub(TIME_PER_SECOND.mul_f64(seconds));
        self.as_of = now;
    }
}

impl Shares {
    /// Whether a target may ask now.
    pub(super) fn may_ask(&mut self, target: TargetId, now: Instant) -> bool {
        let Some(share) = self.0.get_mut(&target) else { return true };
        share.refill(now);
        share.used < TIME && share.alone_until.is_none_or(|until| until <= now)
    }

    /// A question of a target took so long.
    pub(super) fn took(&mut self, target: TargetId, time: Duration, now: Instant) {
        let share = self.share(target, now);
        share.refill(now);
        share.used += time;
    }

    /// A question of a target was not answered in time.
    pub(super) fn was_late(&mut self, target: TargetId, now: Instant) {
        let share = self.share(target, now);
        let alone = ALONE.saturating_mul(1 << share.late.min(16)).min(LONGEST_ALONE);
        share.late = share.late.saturating_add(1);
        share.alone_until = Some(now + alone);
    }

    fn share(&mut self, target: TargetId, now: Instant) -> &mut Share {
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, share| {
                share.refill(now);
                share.used > Duration::ZERO || share.alone_until.is_some_and(|until| until > now)
            });
        }
        let new = || Share { used: Duration::ZERO, as_of: now, alone_until: None, late: 0 };
        self.0.entry(target).or_insert_with(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_comes_back_by_and_by() {
        let mut shares = Shares::default();
        let begun = Instant::now();
        for _ in 0..10 {
            assert!(shares.may_ask(1, begun));
            shares.took(1, TIME / 10, begun);
        }
        assert!(!shares.may_ask(1, begun) && shares.may_ask(2, begun));
        assert!(shares.may_ask(1, begun + Duration::from_secs(1)));
        shares.took(1, TIME, begun + Duration::from_secs(1));
        assert!(!shares.may_ask(1, begun + Duration::from_secs(30)));
        assert!(shares.may_ask(1, begun + Duration::from_mins(1)));
    }

    #[test]
    fn who_does_not_answer_is_left_alone_for_longer_each_time() {
        let mut shares = Shares::default();
        let mut now = Instant::now();
        for seconds in [10, 20, 40, 80, 160, 320, 600, 600] {
            shares.was_late(7, now);
            assert!(!shares.may_ask(7, now + Duration::from_secs(seconds - 1)));
            now += Duration::from_secs(seconds);
            assert!(shares.may_ask(7, now));
        }
    }
}
