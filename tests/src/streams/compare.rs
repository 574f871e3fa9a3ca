//! What the drivers saw of finished streams beside the agent's metrics, row by row.
//! Counts must be equal to the unit; times may differ by what a busy machine puts between kernel and driver.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Result, ensure};

use super::{
    record::{Counted, Kind, Outcome, Record},
    table::Comparison,
};
use crate::{agent::Agent, metrics::Metrics};

/// How much the mean time of a set of streams may differ.
const SLACK: Duration = Duration::from_millis(50);

/// How long the last end may take to reach the metrics.
const SETTLED_WITHIN: Duration = Duration::from_secs(15);

/// Of a request's metrics, none of which a stream may touch.
const REQUEST_METRICS: [&str; 5] = [
    "chat_http_requests_total",
    "chat_http_request_duration_seconds_count",
    "chat_http_time_to_first_byte_seconds_count",
    "chat_http_request_size_bytes_count",
    "chat_http_response_size_bytes_count",
];

/// Streams of one kind and route beside the metrics.
struct Group<'g> {
    kind: &'static str,
    route: &'g str,
    records: Vec<&'g Record>,
    metrics: &'g Metrics,
}

/// Ends and times of `records` beside `metrics`, which hold one target: for each kind and route all of its streams
/// must be among `records`.
pub fn ends(records: &[Record], metrics: &Metrics) -> Comparison {
    let mut table = Comparison::default();
    for group in groups(records, metrics) {
        group.ends(&mut table);
        group.times(&mut table);
    }
    table
}

/// What needs no clock: ends, and of streams that were all read to their end chunks and bytes. For machines on which
/// every time is off, such as emulated ones.
pub fn counts(records: &[Record], metrics: &Metrics) -> Comparison {
    let mut table = Comparison::default();
    for group in groups(records, metrics) {
        group.ends(&mut table);
        if group.records.iter().all(|record| record.outcome == Outcome::Completed) {
            group.direction("sent", |record| record.sent, &mut table);
            group.direction("received", |record| record.received, &mut table);
        }
    }
    table
}

/// Also chunks, bytes and gaps, which are only known of streams that were read to their end. `stall` is the agent's
/// `streams.stall`.
pub fn all(records: &[Record], stall: Duration, metrics: &Metrics) -> Comparison {
    let mut table = ends(records, metrics);
    for group in groups(records, metrics) {
        group.bodies(stall, &mut table);
    }
    table
}

impl Group<'_> {
    fn ends(&self, table: &mut Comparison) {
        let mut ends: BTreeMap<(String, &str), usize> = BTreeMap::new();
        for record in &self.records {
            *ends.entry((record.status.to_string(), record.outcome.label())).or_default() += 1;
        }
        for ((status, outcome), count) in ends {
            let labels = [("status_code", status.as_str()), ("outcome", outcome)];
            self.count("chat_streams_total", &labels, count as f64, table);
        }
        self.count("chat_streams_total", &[], self.records.len() as f64, table);
        self.count("chat_streams_active", &[], 0.0, table);
        for metric in REQUEST_METRICS {
            let observer = self.metrics.sum(metric, &[("route", self.route)]);
            table.count(format!("{} {metric}", self.route), 0.0, observer);
        }
    }

    fn times(&self, table: &mut Comparison) {
        let times = |time: fn(&Record) -> Option<Duration>| -> Vec<Duration> {
            self.records.iter().filter_map(|record| time(record)).collect()
        };
        let durations = times(|record| Some(record.duration));
        self.histogram("chat_stream_duration_seconds", &durations, table);
        let headers = times(|record| Some(record.headers));
        self.histogram("chat_stream_time_to_headers_seconds", &headers, table);
        let first_events = times(|record| record.first_event);
        self.histogram("chat_stream_time_to_first_event_seconds", &first_events, table);
    }

    fn bodies(&self, stall: Duration, table: &mut Comparison) {
        let gaps: Vec<Duration> = self.records.iter().flat_map(|record| record.gaps.clone()).collect();
        self.histogram("chat_stream_gap_seconds", &gaps, table);
        // The wait for the first event is no gap between two, and a stall as well.
        let waits = self.records.iter().filter_map(|record| record.first_event);
        let stalls = waits.chain(gaps).filter(|wait| *wait > stall).count();
        self.count("chat_stream_stalls_total", &[], stalls as f64, table);
        self.direction("sent", |record| record.sent, table);
        self.direction("received", |record| record.received, table);
    }

    fn direction(&self, direction: &str, counted: fn(&Record) -> Counted, table: &mut Comparison) {
        let all = || self.records.iter().map(|record| counted(record));
        let messages: u64 = all().map(|counted| counted.messages).sum();
        let bytes: u64 = all().map(|counted| counted.bytes).sum();
        let labels = [("direction", direction)];
        self.count("chat_stream_chunks_total", &labels, messages as f64, table);
        self.count("chat_stream_bytes_total", &labels, bytes as f64, table);
    }

    /// Count, sum and buckets of a histogram.
    fn histogram(&self, metric: &str, known: &[Duration], table: &mut Comparison) {
        self.count(&format!("{metric}_count"), &[], known.len() as f64, table);
        let sum = format!("{metric}_sum");
        let driver = known.iter().sum::<Duration>().as_secs_f64();
        let tolerance = SLACK.as_secs_f64() * self.records.len() as f64;
        table.time(self.what(&sum, &[]), driver, self.metrics.sum(&sum, &self.labels(&[])), tolerance);
        let bucket = format!("{metric}_bucket");
        for (series, observer) in self.metrics.matching(&bucket, &self.labels(&[])) {
            let Some(bound) = series.labels.get("le").and_then(|bound| bound.parse::<f64>().ok()) else {
                continue;
            };
            let below = |slack: f64| known.iter().filter(|time| time.as_secs_f64() + slack <= bound).count();
            let (least, most) = (below(SLACK.as_secs_f64()), below(-SLACK.as_secs_f64()));
            // Those that are right would make the table long.
            if observer < least as f64 || observer > most as f64 {
                let what = self.what(&format!("{metric} up to {bound}"), &[]);
                table.count(what, f64::midpoint(least as f64, most as f64), observer);
            }
        }
    }

    fn count(&self, metric: &str, labels: &[(&str, &str)], known: f64, table: &mut Comparison) {
        table.count(self.what(metric, labels), known, self.metrics.sum(metric, &self.labels(labels)));
    }

    /// The title of a row.
    fn what(&self, metric: &str, labels: &[(&str, &str)]) -> String {
        let names = [self.kind, self.route, metric].into_iter();
        let words: Vec<&str> = names.chain(labels.iter().map(|(_, value)| *value)).collect();
        words.join(" ")
    }

    /// The labels of this group and these.
    fn labels<'l>(&'l self, more: &[(&'l str, &'l str)]) -> Vec<(&'l str, &'l str)> {
        [("kind", self.kind), ("route", self.route)].iter().chain(more).copied().collect()
    }
}

/// `records` by kind and route.
fn groups<'g>(records: &'g [Record], metrics: &'g Metrics) -> Vec<Group<'g>> {
    let names: BTreeSet<(Kind, &str)> =
        records.iter().map(|record| (record.kind, record.route.as_str())).collect();
    let group = |(kind, route): (Kind, &'g str)| {
        let own = records.iter().filter(|record| record.kind == kind && record.route == route);
        Group { kind: kind.label(), route, records: own.collect(), metrics }
    };
    names.into_iter().map(group).collect()
}

/// Scrapes until `compare` finds no difference; an error shows the table.
pub fn wait_equal(agent: &Agent, compare: impl Fn(&Metrics) -> Comparison) -> Result<Metrics> {
    let metrics = agent.scrape_until(SETTLED_WITHIN, |metrics| compare(metrics).equal())?;
    let comparison = compare(&metrics);
    ensure!(comparison.equal(), "the metrics differ from what the drivers saw:\n{comparison}");
    Ok(metrics)
}

#[cfg(test)]
mod tests;
