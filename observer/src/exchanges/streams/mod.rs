//! Streams that a target serves: what they have done so far, which are open, and how they ended.
//! Open streams are in the counts as of this scrape.

mod counts;
mod kind;

use std::{collections::HashMap, sync::Arc};

pub(super) use self::counts::{Live, Streams};
pub use self::kind::{KINDS, Kind, Progress, kind, waits};
use super::{Exchanges, state::Open, status::StatusCode, table::Row, target::TargetCounts};
use crate::{
    collectors::{
        Collector, Families, Kind as MetricKind, Metric,
        metric::{GAP, LONG, REQUEST},
    },
    targets::TargetList,
};

pub(crate) static METRICS: [Metric; 13] = [
    Metric::of_target("streams_active", MetricKind::Gauge, &["kind", "route"], "Open streams."),
    Metric::of_target(
        "streams_started_total",
        MetricKind::Counter,
        &["kind", "route"],
        "Streams that have begun: answers once it is known that they are streams.",
    ),
    Metric::of_target(
        "streams_waiting",
        MetricKind::Gauge,
        &["kind", "route"],
        "Open streams that have had no event yet.",
    ),
    Metric::of_target(
        "stream_oldest_wait_seconds",
        MetricKind::Gauge,
        &["kind", "route"],
        "How long the longest of them has waited, since the first byte of its request; 0 where none waits.",
    )
    .highest(),
    Metric::of_target(
        "streams_total",
        MetricKind::Counter,
        &["kind", "route", "status_code", "outcome"],
        "Streams that have ended, by the first thing that ended each.",
    ),
    Metric::of_target(
        "stream_duration_seconds",
        MetricKind::Histogram(LONG),
        &["kind", "route"],
        "Time from the first byte of the request to the end; of preexisting streams, since they were adopted.",
    ),
    Metric::of_target(
        "stream_time_to_headers_seconds",
        MetricKind::Histogram(REQUEST),
        &["kind", "route"],
        "Time from the first byte of the request to the head of the response.",
    ),
    Metric::of_target(
        "stream_time_to_first_event_seconds",
        MetricKind::Histogram(REQUEST),
        &["kind", "route"],
        "Time from the first byte of the request to the first bytes that are no comment and no heartbeat, observed when \
         they have come.",
    ),
    Metric::of_target(
        "stream_gap_seconds",
        MetricKind::Histogram(GAP),
        &["kind", "route"],
        "Time between two chunks that hold something, or two messages that the target sent.",
    ),
    Metric::of_target(
        "stream_stalls_total",
        MetricKind::Counter,
        &["kind", "route"],
        "Gaps over `streams.stall`, the wait for the first event among them, counted while they last.",
    ),
    Metric::of_target(
        "stream_chunks_total",
        MetricKind::Counter,
        &["kind", "route", "direction"],
        "Chunks that hold something; of a WebSocket, messages. Grows while a stream lives.",
    ),
    Metric::of_target(
        "stream_bytes_total",
        MetricKind::Counter,
        &["kind", "route", "direction"],
        "Bytes of bodies or messages, without framing. Grows while a stream lives.",
    ),
    Metric::of_target(
        "stream_oldest_age_seconds",
        MetricKind::Gauge,
        &["kind"],
        "Age of the oldest open stream.",
    )
    .highest(),
];

/// Values of the label `direction`, as the target sees it.
const DIRECTIONS: [&str; 2] = ["sent", "received"];

/// The section "Streams the target serves" of the metrics.
pub struct StreamCollector {
    targets: Arc<dyn TargetList>,
    exchanges: Arc<Exchanges>,
}

impl StreamCollector {
    /// Shows the streams of the targets in `targets`.
    pub fn new(targets: Arc<dyn TargetList>, exchanges: Arc<Exchanges>) -> Self {
        Self { targets, exchanges }
    }
}

impl Collector for StreamCollector {
    fn name(&self) -> &'static str {
        "streams"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn collect(&self, families: &mut Families) -> anyhow::Result<()> {
        let now_ns = self.exchanges.now_ns();
        for target in self.targets.targets().iter() {
            let of = [target.labels.container.as_str(), target.labels.app.as_str()];
            let open = self.exchanges.open(target.id);
            self.exchanges.with(target.id, |counts| write(families, of, counts, &open, now_ns));
        }
        Ok(())
    }
}

fn write(
    families: &mut Families,
    of: [&str; 2],
    counts: &TargetCounts,
    open: &HashMap<(Row, usize), Open>,
    now_ns: u64,
) {
    let [active, _, waiting, oldest_wait, .., oldest_age] = &METRICS;
    let [container, app] = of;
    let mut ages = [None; KINDS.len()];
    for (row, kind, streams) in counts.streams.cells() {
        let labels = [container, app, KINDS[kind], counts.routes.template(row)];
        let open = open.get(&(row, kind)).copied().unwrap_or_default();
        families.value(active, &labels, open.count as f64);
        families.value(waiting, &labels, open.waiting as f64);
        let wait = now_ns.saturating_sub(open.waiting_since_ns);
        families.value(oldest_wait, &labels, wait as f64 / 1e9);
        write_streams(families, labels, streams, kind == Kind::WebSocket as usize);
        let age = now_ns.saturating_sub(open.oldest_ns);
        ages[kind] = ages[kind].max(Some(age));
    }
    for (kind, age) in KINDS.iter().zip(ages) {
        if let Some(age) = age {
            families.value(oldest_age, &[container, app, kind], age as f64 / 1e9);
        }
    }
}

fn write_streams(families: &mut Families, labels: [&str; 4], streams: &Streams, receives_messages: bool) {
    let [_, started, _, _, total, duration, headers, first_event, gap, stalls, chunks, bytes, _] = &METRICS;
    let [container, app, kind, route] = labels;
    for ((status, end), count) in &streams.ended {
        let status = StatusCode(*status).to_string();
        families.value(total, &[container, app, kind, route, &status, end.as_str()], *count as f64);
    }
    families.value(started, &labels, streams.started as f64);
    families.histogram(duration, &labels, &streams.duration.seconds());
    families.histogram(headers, &labels, &streams.headers.seconds());
    families.histogram(first_event, &labels, &streams.first_event.seconds());
    families.histogram(gap, &labels, &streams.gaps.seconds());
    families.value(stalls, &labels, streams.stalls as f64);
    // Only a WebSocket receives messages; the body of a request is not made of chunks that mean something.
    let directions = if receives_messages { 2 } else { 1 };
    for (direction, count) in DIRECTIONS.iter().zip(streams.chunks).take(directions) {
        families.value(chunks, &[container, app, kind, route, direction], count as f64);
    }
    for (direction, count) in DIRECTIONS.iter().zip(streams.bytes) {
        families.value(bytes, &[container, app, kind, route, direction], count as f64);
    }
}
