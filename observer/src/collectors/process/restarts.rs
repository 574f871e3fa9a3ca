//! Which processes started in the place of one that ended: a pool that lost a worker and got another.
//! A target that starts anew is no restart of its processes; that is counted as the target's.

use std::{collections::HashMap, sync::Arc};

/// Processes of a target that ended and were not replaced yet, by role.
#[derive(Debug, Default)]
pub(super) struct Vacancies {
    by_role: HashMap<Arc<str>, u64>,
    /// How often the target had come back when this was last looked at.
    run: Option<u64>,
}

impl Vacancies {
    /// Begins a look at the target, which has come back so often; whether this is another run of it than at the last.
    pub(super) fn begin(&mut self, restarts: u64) -> bool {
        let other = self.run.replace(restarts) != Some(restarts);
        if other {
            self.by_role.clear();
        }
        other
    }

    /// A process of this role has ended.
    pub(super) fn leave(&mut self, role: &Arc<str>) {
        *self.by_role.entry(Arc::clone(role)).or_default() += 1;
    }

    /// Whether a new process of this role takes the place of another.
    pub(super) fn fill(&mut self, role: &str) -> bool {
        match self.by_role.get_mut(role) {
            Some(open) if *open > 0 => {
                *open -= 1;
                true
            }
            _ => false,
        }
    }

    /// The target has no process any more: what starts next is another run.
    pub(super) fn clear(&mut self) {
        self.by_role.clear();
        self.run = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_filled_once_by_the_same_role_in_the_same_run() {
        let worker: Arc<str> = "worker".into();
        let mut vacancies = Vacancies::default();
        assert!(vacancies.begin(0), "the first look");
        assert!(!vacancies.begin(0) && !vacancies.fill("worker"));
        vacancies.leave(&worker);
        assert!(!vacancies.fill("server"));
        assert!(vacancies.fill("worker") && !vacancies.fill("worker"));
        vacancies.leave(&worker);
        assert!(vacancies.begin(1) && !vacancies.fill("worker"), "the target came back");
        vacancies.leave(&worker);
        vacancies.clear();
        assert!(vacancies.begin(1) && !vacancies.fill("worker"), "it had run empty");
    }
}
