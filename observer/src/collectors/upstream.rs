//! HTTP that a target asks of others, by the name of the service: counts, times to the last and to the first byte.

use std::sync::Arc;

use observer_ebpf::records::exchange::METHODS;

use super::{
    Collector, Families, Kind, Metric,
    exchanges::{Exchanges, Upstreams},
    metric::REQUEST,
};
use crate::{exchanges::labels::StatusCode, targets::TargetList};

pub(super) static METRICS: [Metric; 3] = [
    Metric::of_target(
        "upstream_requests_total",
        Kind::Counter,
        &["upstream", "method", "route", "status_code"],
        "Requests that the target made and that have ended, streams among them; 499 where it left before the answer, \
         000 where none came.",
    ),
    Metric::of_target(
        "upstream_request_duration_seconds",
        Kind::Histogram(REQUEST),
        &["upstream", "method", "route"],
        "Time from the first byte of an answered request to the last byte of its response, streams among them.",
    ),
    Metric::of_target(
        "upstream_time_to_first_byte_seconds",
        Kind::Histogram(REQUEST),
        &["upstream", "method", "route"],
        "Time from the first byte of a request to the first byte of its response.",
    ),
];

/// The HTTP part of the section "Calls the target makes" of the metrics.
pub struct UpstreamCollector {
    targets: Arc<dyn TargetList>,
    exchanges: Arc<Exchanges>,
}

impl UpstreamCollector {
    /// Shows what the targets in `targets` asked of others.
    pub fn new(targets: Arc<dyn TargetList>, exchanges: Arc<Exchanges>) -> Self {
        Self { targets, exchanges }
    }
}

impl Collector for UpstreamCollector {
    fn name(&self) -> &'static str {
        "upstream"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn collect(&self, families: &mut Families) -> anyhow::Result<()> {
        for target in self.targets.targets().iter() {
            let of = [target.labels.container.as_str(), target.labels.app.as_str()];
            self.exchanges.with(target.id, |counts| write(families, of, &counts.upstreams));
        }
        Ok(())
    }
}

fn write(families: &mut Families, of: [&str; 2], upstreams: &Upstreams) {
    let [total, duration, first_byte] = &METRICS;
    let [container, app] = of;
    for (upstream, asked) in &upstreams.peers {
        for (row, method, requests) in asked.cells() {
            let (method, route) = (METHODS[method], upstreams.routes.template(row));
            let labels = [container, app, upstream, method, route];
            for (status, count) in &requests.statuses {
                let status = StatusCode(*status).to_string();
                families.value(total, &[container, app, upstream, method, route, &status], *count as f64);
            }
            families.histogram(duration, &labels, &requests.duration.seconds());
            families.histogram(first_byte, &labels, &requests.first_byte.seconds());
        }
    }
}
