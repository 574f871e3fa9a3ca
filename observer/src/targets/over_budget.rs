//! Which targets take more than their share, and of what: whoever bounds something notes it here.
//! What is done with it is for others to say.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::TargetId;

/// What was noted. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct OverBudget(Arc<Mutex<BTreeMap<(TargetId, &'static str), Instant>>>);

impl OverBudget {
    /// The target takes more than its share of this now.
    pub fn note(&self, target: TargetId, what: &'static str) {
        let mut noted = self.noted();
        if noted.insert((target, what), Instant::now()).is_none() {
            tracing::warn!(
                target,
                what,
                "a target takes more than its share, and loses its own numbers for it"
            );
        }
    }
    /// When each was last noted.
    pub(crate) fn noted(&self) -> MutexGuard<'_, BTreeMap<(TargetId, &'static str), Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
