//! What the app did, as its profile reads it out of requests: chat turns, uploads, logins.

mod counts;

use std::sync::Arc;

pub(super) use self::counts::EventCounts;
use super::Exchanges;
use crate::{
    collectors::{Collector, Families, Kind, Metric, metric::LONG},
    profiles::events::Outcome,
    targets::TargetList,
};

pub(crate) static METRICS: [Metric; 2] = [
    Metric::of_target(
        "app_events_total",
        Kind::Counter,
        &["event", "outcome"],
        "What requests meant to the app, by the status and the end of the answer.",
    ),
    Metric::of_target(
        "app_event_duration_seconds",
        Kind::Histogram(LONG),
        &["event"],
        "Time from the first byte of the request to the end of the answer, streams among them.",
    ),
];

/// The section "What the app did" of the metrics.
pub struct AppEventCollector {
    targets: Arc<dyn TargetList>,
    exchanges: Arc<Exchanges>,
}

impl AppEventCollector {
    /// Shows the events of the targets in `targets`.
    pub fn new(targets: Arc<dyn TargetList>, exchanges: Arc<Exchanges>) -> Self {
        Self { targets, exchanges }
    }
}

impl Collector for AppEventCollector {
    fn name(&self) -> &'static str {
        "app_events"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn collect(&self, families: &mut Families) -> anyhow::Result<()> {
        let [total, duration] = &METRICS;
        for target in self.targets.targets().iter() {
            let (container, app) = (target.labels.container.as_str(), target.labels.app.as_str());
            self.exchanges.with(target.id, |counts| {
                for (event, events) in counts.events.iter() {
                    for (outcome, count) in Outcome::ALL.iter().zip(events.counts) {
                        let labels = [container, app, event.as_str(), outcome.as_str()];
                        families.value(total, &labels, count as f64);
                    }
                    families.histogram(
                        duration,
                        &[container, app, event.as_str()],
                        &events.duration.seconds(),
                    );
                }
            });
        }
        Ok(())
    }
}
