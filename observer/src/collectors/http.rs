//! HTTP that a target serves: requests by method, route and status, their times and sizes. Streams are none of them.
//! What a target asks of itself is apart.

use std::sync::Arc;

use observer_ebpf::records::exchange::METHODS;

use super::{
    Collector, Families, Kind, Metric,
    exchanges::{Exchanges, Requests, TargetCounts},
    metric::{REQUEST, SIZE},
};
use crate::{exchanges::labels::StatusCode, targets::TargetList};

pub(super) static METRICS: [Metric; 7] = [
    Metric::of_target(
        "http_requests_total",
        Kind::Counter,
        &["method", "route", "status_code"],
        "Requests that have ended and were no streams; 499 where the client left before the answer, 000 where none came.",
    ),
    Metric::of_target(
        "http_request_duration_seconds",
        Kind::Histogram(REQUEST),
        &["method", "route"],
        "Time from the first byte of an answered request to the last byte of its response.",
    ),
    Metric::of_target(
        "http_time_to_first_byte_seconds",
        Kind::Histogram(REQUEST),
        &["method", "route"],
        "Time from the first byte of a request to the first byte of its response.",
    ),
    Metric::of_target(
        "http_request_size_bytes",
        Kind::Histogram(SIZE),
        &["method", "route"],
        "Size of the body of an answered request, without its framing.",
    ),
    Metric::of_target(
        "http_response_size_bytes",
        Kind::Histogram(SIZE),
        &["method", "route"],
        "Size of the body of a response, without its framing.",
    ),
    Metric::of_target(
        "http_requests_in_flight",
        Kind::Gauge,
        &[],
        "Requests that have begun and are not answered to the end; open streams are none.",
    ),
    Metric::of_target(
        "http_self_requests_total",
        Kind::Counter,
        &["route"],
        "Requests that the target made to itself; they are in no other HTTP metric.",
    ),
];

/// The section "HTTP the target serves" of the metrics.
pub struct HttpCollector {
    targets: Arc<dyn TargetList>,
    exchanges: Arc<Exchanges>,
}

impl HttpCollector {
    /// Shows the exchanges of the targets in `targets`, and brings them up to date for the other collectors.
    pub fn new(targets: Arc<dyn TargetList>, exchanges: Arc<Exchanges>) -> Self {
        Self { targets, exchanges }
    }
}

impl Collector for HttpCollector {
    fn name(&self) -> &'static str {
        "http"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn prepare(&self) -> anyhow::Result<()> {
        self.exchanges.refresh()
    }

    fn collect(&self, families: &mut Families) -> anyhow::Result<()> {
        let [.., in_flight, _] = &METRICS;
        for target in self.targets.targets().iter() {
            let of = [target.labels.container.as_str(), target.labels.app.as_str()];
            let waiting = self.exchanges.with(target.id, |counts| {
                write(families, of, counts);
                counts.in_flight
            });
            families.value(in_flight, &of, waiting.unwrap_or(0) as f64);
        }
        Ok(())
    }
}

fn write(families: &mut Families, of: [&str; 2], counts: &TargetCounts) {
    let [.., self_requests] = &METRICS;
    let [container, app] = of;
    for (row, method, requests) in counts.requests.cells() {
        let method = METHODS.get(method).copied().unwrap_or_default();
        write_requests(families, [container, app, method, counts.routes.template(row)], requests);
    }
    for (row, _, calls) in counts.self_calls.cells() {
        let route = counts.routes.template(row);
        families.value(self_requests, &[container, app, route], *calls as f64);
    }
}

fn write_requests(families: &mut Families, labels: [&str; 4], requests: &Requests) {
    let [total, duration, first_byte, request_size, response_size, ..] = &METRICS;
    let [container, app, method, route] = labels;
    for (status, count) in &requests.statuses {
        let status = StatusCode(*status).to_string();
        families.value(total, &[container, app, method, route, &status], *count as f64);
    }
    families.histogram(duration, &labels, &requests.duration.seconds());
    families.histogram(first_byte, &labels, &requests.first_byte.seconds());
    families.histogram(request_size, &labels, &requests.request_size.bytes());
    families.histogram(response_size, &labels, &requests.response_size.bytes());
}
