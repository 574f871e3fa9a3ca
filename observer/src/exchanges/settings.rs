//! What exchanges are counted with: the times of streams, and the routes of each target.

use std::time::Duration;

use super::{requests, routes::Router, upstream};
use crate::{
    collectors::{Metric, overflow::LabelOverflow},
    kernel::Records,
    profiles::Profiles,
};

/// The metric under which a target's routes past their budget are counted; others have the same routes.
static SERVED: &Metric = &requests::METRICS[0];
/// The same for what it asks of others.
static ASKED: &Metric = &upstream::METRICS[0];
/// The label whose values are routes.
const LABEL: &str = "route";

/// When an answer is a stream, and when a stream has stalled (`streams.after`, `streams.stall`).
#[derive(Clone, Copy, Debug)]
pub struct StreamTimes {
    /// How long the body of an answer of unknown length takes when it is one.
    pub after: Duration,
    /// How long a gap is when it is a stall.
    pub stall: Duration,
}

/// What exchanges are counted with.
pub struct Settings {
    /// Streams by their times.
    pub times: StreamTimes,
    /// Values of the label `route` per target.
    pub routes: usize,
    /// What the apps' routes mean.
    pub profiles: Profiles,
    /// Where routes past their budget are counted.
    pub overflow: LabelOverflow,
    /// Where records that mean nothing are counted.
    pub records: Records,
}

/// The routes of a target.
pub(super) struct Routers {
    /// Of what it serves.
    pub(super) served: Router,
    /// Of what it asks of others, whose routes no profile knows.
    pub(super) asked: Router,
}

impl Settings {
    /// Makes the counts of overflows exist.
    pub(super) fn declare(&self) {
        self.overflow.declare(SERVED, LABEL);
        self.overflow.declare(ASKED, LABEL);
    }

    /// The routes of a target with this app; `None` only where there is not even the profile of everything that has
    /// no other.
    pub(super) fn routers(&self, app: &str) -> Option<Routers> {
        Some(Routers { served: self.router(app, SERVED)?, asked: self.router("", ASKED)? })
    }

    fn router(&self, app: &str, metric: &'static Metric) -> Option<Router> {
        let overflow = self.overflow.clone();
        let router = Router::new(self.profiles.for_app(app)?, self.routes);
        Some(router.on_overflow(move || overflow.record(metric, LABEL)))
    }
}
