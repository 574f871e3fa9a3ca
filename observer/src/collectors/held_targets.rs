//! The list of targets, held as it is for as long as a scrape lasts: a target that is called otherwise meanwhile is not
//! shown under both names.

use std::sync::{Arc, Mutex, PoisonError};

use crate::targets::{RefusedProgram, StateCounts, Target, TargetList, Waiting};

/// A list that may be held.
pub struct HeldTargets {
    live: Arc<dyn TargetList>,
    held: Mutex<Option<Arc<[Target]>>>,
}

/// Holds the list until it is dropped.
pub struct Hold<'a>(&'a HeldTargets);

impl HeldTargets {
    /// Over a list that changes.
    pub fn new(live: Arc<dyn TargetList>) -> Self {
        Self { live, held: Mutex::default() }
    }

    /// From now on the list is as it is now. One scrape runs at a time.
    pub fn hold(&self) -> Hold<'_> {
        self.set(Some(self.live.targets()));
        Hold(self)
    }

    fn set(&self, held: Option<Arc<[Target]>>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

impl TargetList for HeldTargets {
    fn targets(&self) -> Arc<[Target]> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        held.unwrap_or_else(|| self.live.targets())
    }

    fn state_counts(&self) -> StateCounts {
        self.live.state_counts()
    }

    fn waiting(&self) -> Arc<[Waiting]> {
        self.live.waiting()
    }

    fn refused_programs(&self) -> Arc<[RefusedProgram]> {
        self.live.refused_programs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another list at each look.
    #[derive(Default)]
    struct Restless(Mutex<u32>);

    impl TargetList for Restless {
        fn targets(&self) -> Arc<[Target]> {
            let mut looks = self.0.lock().unwrap();
            *looks += 1;
            let (labels, info) = Default::default();
            Arc::new([Target { id: *looks, labels, info, cgroups: Vec::new(), restarts: 0 }])
        }

        fn state_counts(&self) -> StateCounts {
            StateCounts::default()
        }
    }

    #[test]
    fn the_list_is_one_while_it_is_held_and_another_before_and_after() {
        let targets = HeldTargets::new(Arc::new(Restless::default()));
        let look = || targets.targets()[0].id;
        assert_eq!([look(), look()], [1, 2]);
        let hold = targets.hold();
        assert_eq!([look(), look()], [3, 3]);
        drop(hold);
        assert_eq!([look(), look()], [4, 5]);
    }
}
