//! Whether the agent observes yet, shared between whoever attaches and the server.
//! Until it is ready it carries the reason, which /readyz shows.

use std::sync::Arc;

use tokio::sync::watch;

/// A handle; clones share one state.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<Option<String>>>);

impl Readiness {
    /// Not ready, for this reason.
    pub fn waiting(reason: impl Into<String>) -> Self {
        Self(Arc::new(watch::Sender::new(Some(reason.into()))))
    }

    /// From now on ready.
    pub fn set_ready(&self) {
        self.0.send_replace(None);
    }

    /// From now on not ready, for this reason.
    pub fn set_reason(&self, reason: impl Into<String>) {
        self.0.send_replace(Some(reason.into()));
    }

    /// Why it is not ready; none when it is.
    pub fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}
