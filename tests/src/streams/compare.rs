//! What the drivers saw of finished streams beside the agent's metrics, row by row.
//! Counts must be equal to the unit; times may differ by what a busy machine puts between kernel and driver.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use anyhow::{Result, ensure};

use super::record::{Kind, Record};
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

/// One figure from both sides.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    what: String,
    driver: f64,
    observer: f64,
    tolerance: f64,
}

/// All figures of a comparison.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison(Vec<Row>);

/// Streams of one kind and route, and what is known of them.
struct Group<'r> {
    labels: [(&'static str, &'r str); 2],
    records: Vec<&'r Record>,
}

impl Comparison {
    /// Ends and times of `records` beside `metrics`, which hold one target: for each kind and route all of its streams
    /// must be among `records`.
    pub fn of_ends(records: &[Record], metrics: &Metrics) -> Self {
        let mut comparison = Self::default();
        for group in groups(records) {
            comparison.ends(&group, metrics);
            comparison.times(&group, metrics);
        }
        comparison
    }

    /// Also chunks, bytes and gaps, which are only known of streams that were read to their end. `stall` is the
    /// agent's `streams.stall`.
    pub fn of_all(records: &[Record], stall: Duration, metrics: &Metrics) -> Self {
        let mut comparison = Self::of_ends(records, metrics);
        for group in groups(records) {
            comparison.bodies(&group, stall, metrics);
        }
        comparison
    }

    fn ends(&mut self, group: &Group<'_>, metrics: &Metrics) {
        let mut ends: BTreeMap<(String, &str), usize> = BTreeMap::new();
        for record in &group.records {
            *ends.entry((record.status.to_string(), record.outcome.label())).or_default() += 1;
        }
        for ((status, outcome), count) in ends {
            let more = [("status_code", status.as_str()), ("outcome", outcome)];
            let name = format!("chat_streams_total {status} {outcome}");
            self.count(&name, group, "chat_streams_total", &more, count as u64, metrics);
        }
        let all = group.records.len() as u64;
        self.count("chat_streams_total, all", group, "chat_streams_total", &[], all, metrics);
        self.count("chat_streams_active", group, "chat_streams_active", &[], 0, metrics);
        for metric in REQUEST_METRICS {
            let [_, route] = group.labels;
            let what = format!("{} {metric}", route.1);
            self.push(what, 0.0, metrics.sum(metric, &[route]), 0.0);
        }
    }

    fn times(&mut self, group: &Group<'_>, metrics: &Metrics) {
        let times = |time: fn(&Record) -> Option<Duration>| -> Vec<Duration> {
            group.records.iter().filter_map(|record| time(record)).collect()
        };
        self.histogram(
            group,
            "chat_stream_duration_seconds",
            &times(|record| Some(record.duration)),
            metrics,
        );
        let headers = times(|record| Some(record.headers));
        self.histogram(group, "chat_stream_time_to_headers_seconds", &headers, metrics);
        let first_events = times(|record| record.first_event);
        self.histogram(group, "chat_stream_time_to_first_event_seconds", &first_events, metrics);
    }

    fn bodies(&mut self, group: &Group<'_>, stall: Duration, metrics: &Metrics) {
        let gaps: Vec<Duration> = group.records.iter().flat_map(|record| record.gaps.clone()).collect();
        self.histogram(group, "chat_stream_gap_seconds", &gaps, metrics);
        let stalls = gaps.iter().filter(|gap| **gap > stall).count() as u64;
        self.count("chat_stream_stalls_total", group, "chat_stream_stalls_total", &[], stalls, metrics);
        for direction in ["sent", "received"] {
            let counted = group.records.iter().map(|record| match direction {
                "sent" => record.sent,
                _ => record.received,
            });
            let (messages, bytes) =
                counted.fold((0, 0), |sum, counted| (sum.0 + counted.messages, sum.1 + counted.bytes));
            let more = [("direction", direction)];
            for (metric, count) in
                [("chat_stream_chunks_total", messages), ("chat_stream_bytes_total", bytes)]
            {
                self.count(&format!("{metric} {direction}"), group, metric, &more, count, metrics);
            }
        }
    }

    /// Count and sum of a histogram; the sum may differ by [`SLACK`] a stream.
    fn histogram(&mut self, group: &Group<'_>, metric: &str, known: &[Duration], metrics: &Metrics) {
        let count = format!("{metric}_count");
        self.count(&count, group, &count, &[], known.len() as u64, metrics);
        let sum = format!("{metric}_sum");
        let [kind, route] = group.labels;
        let tolerance = SLACK.as_secs_f64() * group.records.len() as f64;
        let driver = known.iter().sum::<Duration>().as_secs_f64();
        self.push(
            format!("{} {} {sum}", kind.1, route.1),
            driver,
            metrics.sum(&sum, &group.labels),
            tolerance,
        );
    }

    fn count(
        &mut self,
        what: &str,
        group: &Group<'_>,
        metric: &str,
        more: &[(&str, &str)],
        known: u64,
        metrics: &Metrics,
    ) {
        let [kind, route] = group.labels;
        let labels: Vec<(&str, &str)> = group.labels.iter().chain(more).copied().collect();
        let observer = metrics.sum(metric, &labels);
        self.push(format!("{} {} {what}", kind.1, route.1), known as f64, observer, 0.0);
    }

    /// Adds a figure; a tolerance of 0 means a count.
    pub(super) fn push(&mut self, what: String, driver: f64, observer: f64, tolerance: f64) {
        self.0.push(Row { what, driver, observer, tolerance });
    }

    /// Whether every figure is the same on both sides.
    pub fn equal(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(Row::equal)
    }
}

impl Row {
    fn equal(&self) -> bool {
        // Half a unit for counts, which are whole numbers below 2^53; nothing is added to times.
        let tolerance = if self.tolerance > 0.0 { self.tolerance } else { 0.5 };
        (self.driver - self.observer).abs() < tolerance
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:<78} {:>14} {:>14}", "", "driver", "observer")?;
        for row in &self.0 {
            let mark = if row.equal() { "" } else { "  differs" };
            writeln!(formatter, "{:<78} {:>14.3} {:>14.3}{mark}", row.what, row.driver, row.observer)?;
        }
        Ok(())
    }
}

/// `records` by kind and route.
fn groups(records: &[Record]) -> Vec<Group<'_>> {
    let names: BTreeSet<(Kind, &str)> =
        records.iter().map(|record| (record.kind, record.route.as_str())).collect();
    let group = |(kind, route): (Kind, &'_ str)| {
        records.iter().filter(|record| record.kind == kind && record.route == route).collect()
    };
    names
        .into_iter()
        .map(|name| Group { labels: [("kind", name.0.label()), ("route", name.1)], records: group(name) })
        .collect()
}

/// Scrapes until `compare` finds no difference; an error shows the table.
pub fn wait_equal(agent: &Agent, compare: impl Fn(&Metrics) -> Comparison) -> Result<Metrics> {
    let metrics = agent.scrape_until(SETTLED_WITHIN, |metrics| compare(metrics).equal())?;
    let comparison = compare(&metrics);
    ensure!(comparison.equal(), "the metrics differ from what the drivers saw:\n{comparison}");
    Ok(metrics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::record::{Counted, Outcome};

    const SCRAPE: &str = "\
        chat_streams_total{kind=\"sse\",route=\"/a\",status_code=\"200\",outcome=\"completed\"} 1\n\
        chat_stream_duration_seconds_count{kind=\"sse\",route=\"/a\"} 1\n\
        chat_stream_duration_seconds_sum{kind=\"sse\",route=\"/a\"} 20.01\n\
        chat_stream_time_to_headers_seconds_count{kind=\"sse\",route=\"/a\"} 1\n\
        chat_stream_time_to_headers_seconds_sum{kind=\"sse\",route=\"/a\"} 0.001\n\
        chat_stream_time_to_first_event_seconds_count{kind=\"sse\",route=\"/a\"} 1\n\
        chat_stream_time_to_first_event_seconds_sum{kind=\"sse\",route=\"/a\"} 1.001\n\
        chat_stream_gap_seconds_count{kind=\"sse\",route=\"/a\"} 1\n\
        chat_stream_gap_seconds_sum{kind=\"sse\",route=\"/a\"} 15\n\
        chat_stream_stalls_total{kind=\"sse\",route=\"/a\"} 1\n\
        chat_stream_chunks_total{kind=\"sse\",route=\"/a\",direction=\"sent\"} 2\n\
        chat_stream_bytes_total{kind=\"sse\",route=\"/a\",direction=\"sent\"} 30\n";

    fn record() -> Record {
        Record {
            id: 1,
            kind: Kind::Sse,
            route: "/a".to_owned(),
            status: 200,
            outcome: Outcome::Completed,
            headers: Duration::from_millis(2),
            first_event: Some(Duration::from_secs(1)),
            gaps: vec![Duration::from_secs(15)],
            duration: Duration::from_secs(20),
            sent: Counted { messages: 2, bytes: 30 },
            received: Counted::default(),
        }
    }

    fn compare(record: Record, more: &str) -> Comparison {
        let metrics = Metrics::parse(&format!("{SCRAPE}{more}")).unwrap();
        Comparison::of_all(&[record], Duration::from_secs(10), &metrics)
    }

    #[test]
    fn times_may_differ_a_little_and_counts_not_at_all() {
        let equal = compare(record(), "");
        assert!(equal.equal(), "{equal}");
        for wrong in [
            Record { duration: Duration::from_millis(19_950), ..record() },
            Record { outcome: Outcome::ClientAbort, ..record() },
            Record { status: 201, ..record() },
            Record { sent: Counted { messages: 2, bytes: 31 }, ..record() },
            Record { gaps: vec![Duration::from_secs(10), Duration::from_secs(5)], ..record() },
        ] {
            let comparison = compare(wrong.clone(), "");
            assert!(comparison.to_string().contains("differs"), "{wrong:?}:\n{comparison}");
        }
        assert!(!Comparison::default().equal());
    }

    #[test]
    fn a_stream_that_counts_as_a_request_is_a_difference() {
        for more in [
            "chat_http_requests_total{route=\"/a\"} 1\n",
            "chat_http_request_duration_seconds_count{route=\"/a\"} 1\n",
            "chat_streams_active{kind=\"sse\",route=\"/a\"} 1\n",
            "chat_streams_total{kind=\"sse\",route=\"/a\",status_code=\"200\",outcome=\"reset\"} 1\n",
        ] {
            assert!(!compare(record(), more).equal(), "{more}");
        }
    }
}
