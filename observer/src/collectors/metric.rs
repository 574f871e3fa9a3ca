//! How a metric is declared, and the const families that a scrape builds from declarations and values.
//! A declaration is the only place with a metric's name, help and labels; the reference is generated from it.

use std::collections::HashMap;

use prometheus::{
    Encoder as _, TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType},
};

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows while the agent lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets with these upper bounds, without `+Inf`.
    Histogram(&'static [f64]),
}

/// A metric's declaration.
#[derive(Debug)]
pub struct Metric {
    /// Full name for the agent's own metrics (`observer_…`, `process_…`); without prefix for those of targets.
    pub name: &'static str,
    /// One sentence in plain words.
    pub help: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Labels beside `container` and `app`, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// Whether it belongs to a target: then it gets the prefix and the labels `container` and `app`.
    pub of_target: bool,
}

impl Metric {
    /// Declares a metric of a target, which gets the prefix and the labels `container` and `app`.
    pub const fn of_target(
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, help, kind, labels, of_target: true }
    }

    /// Declares a metric of the agent itself.
    pub const fn of_agent(
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, help, kind, labels, of_target: false }
    }
}

/// Bounds of short durations in seconds: connects, round trips, lookups.
pub const SHORT: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds of long durations in seconds: connections and streams, up to an hour.
pub const LONG: &[f64] =
    &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0];

/// Bounds of requests in seconds.
pub const REQUEST: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0];
/// Bounds of pauses within a stream in seconds.
pub const GAP: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Bounds of messages' sizes in bytes.
pub const SIZE: &[f64] = &[
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// A histogram's value: observations per bucket (not cumulative, the last one above every bound) and their sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramValue {
    /// One more than the metric has bounds.
    pub buckets: Vec<u64>,
    /// In the metric's unit.
    pub sum: f64,
}

impl HistogramValue {
    /// Nothing observed yet.
    pub fn empty(bounds: &[f64]) -> Self {
        Self { buckets: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Adds one observation; `bounds` are those it was made with.
    pub fn observe(&mut self, bounds: &[f64], value: f64) {
        let bucket = bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
            self.sum += value;
        }
    }
}

/// The families of one scrape.
#[derive(Debug)]
pub struct Families {
    prefix: String,
    list: Vec<MetricFamily>,
    /// By name, which a metric of targets may share with one of the agent (`process_…`).
    index: HashMap<(bool, &'static str), usize>,
    series: u64,
}

impl Families {
    /// An empty scrape; `prefix` stands before the names of target metrics (`chat`).
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), list: Vec::new(), index: HashMap::new(), series: 0 }
    }

    /// Adds a counter's or gauge's value. `labels` are values in the order of the declaration, for a metric of a
    /// target with `container` and `app` before them.
    pub fn value(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        let mut sample = Sample::default();
        match metric.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                sample.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram(_) => {
                debug_assert_eq!(metric.kind, Kind::Gauge, "{} is written as a single value", metric.name);
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                sample.set_gauge(gauge);
            }
        }
        self.push(metric, labels, sample);
    }

    /// Adds a histogram's value.
    pub fn histogram(&mut self, metric: &'static Metric, labels: &[&str], value: &HistogramValue) {
        let Kind::Histogram(bounds) = metric.kind else {
            debug_assert!(false, "{} is written as a histogram", metric.name);
            return;
        };
        debug_assert_eq!(value.buckets.len(), bounds.len() + 1, "{}", metric.name);
        let mut cumulative = 0;
        let buckets = bounds.iter().zip(&value.buckets).map(|(bound, count)| {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(value.buckets.iter().sum());
        histogram.set_sample_sum(value.sum);
        let mut sample = Sample::default();
        sample.set_histogram(histogram);
        self.push(metric, labels, sample);
    }

    /// How many series were added (a histogram counts its buckets, its sum and its count).
    pub fn series(&self) -> u64 {
        self.series
    }

    /// The name under which this scrape serves a metric.
    pub fn full_name(&self, metric: &Metric) -> String {
        full_name(metric, &self.prefix)
    }

    /// The exposition text, families sorted by name, series in the order of their labels.
    pub fn encode(mut self) -> anyhow::Result<Vec<u8>> {
        self.list.sort_by(|a, b| a.name().cmp(b.name()));
        for family in &mut self.list {
            family.mut_metric().sort_by(|a, b| {
                let values = |sample| Sample::get_label(sample).iter().map(LabelPair::value);
                values(a).cmp(values(b))
            });
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.list, &mut text)?;
        Ok(text)
    }

    fn push(&mut self, metric: &'static Metric, labels: &[&str], mut sample: Sample) {
        let target_labels: &[&'static str] = if metric.of_target { &["container", "app"] } else { &[] };
        debug_assert_eq!(labels.len(), target_labels.len() + metric.labels.len(), "{}", metric.name);
        let names = target_labels.iter().chain(metric.labels);
        let pairs = names.zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        sample.set_label(pairs.collect());
        self.series += match metric.kind {
            Kind::Counter | Kind::Gauge => 1,
            Kind::Histogram(bounds) => bounds.len() as u64 + 3,
        };
        let position = *self.index.entry((metric.of_target, metric.name)).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(full_name(metric, &self.prefix));
            family.set_help(metric.help.to_owned());
            family.set_field_type(match metric.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
                Kind::Histogram(_) => MetricType::HISTOGRAM,
            });
            self.list.push(family);
            self.list.len() - 1
        });
        self.list[position].mut_metric().push(sample);
    }
}

/// The name under which a metric is served.
pub fn full_name(metric: &Metric, prefix: &str) -> String {
    if metric.of_target { format!("{prefix}_{}", metric.name) } else { metric.name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    static OPENED: Metric = Metric {
        name: "tcp_connections_opened_total",
        help: "Connections opened.",
        kind: Kind::Counter,
        labels: &["direction"],
        of_target: true,
    };
    static RTT: Metric = Metric {
        name: "tcp_rtt_seconds",
        help: "Round-trip time.",
        kind: Kind::Histogram(&[0.1, 1.0]),
        labels: &[],
        of_target: true,
    };

    #[test]
    fn a_name_of_targets_and_of_the_agent_are_two_families() {
        static OF_AGENT: Metric = Metric { of_target: false, labels: &[], ..OPENED };
        let mut families = Families::new("chat");
        families.value(&OPENED, &["c", "", "inbound"], 3.0);
        families.value(&OF_AGENT, &[], 4.0);
        let text = String::from_utf8(families.encode().unwrap()).unwrap();
        assert!(text.contains("\ntcp_connections_opened_total 4\n"), "{text}");
        assert!(!text.contains("chat_tcp_connections_opened_total 4"), "{text}");
    }

    #[test]
    fn an_observation_on_a_bound_belongs_to_that_bucket() {
        let bounds = [0.1, 1.0];
        let mut value = HistogramValue::empty(&bounds);
        for observed in [0.05, 0.1, 0.5, 7.0] {
            value.observe(&bounds, observed);
        }
        assert_eq!(value.buckets, [2, 1, 1]);
        assert!((value.sum - 7.65).abs() < 1e-9);
    }

    #[test]
    fn families_are_encoded_with_prefix_labels_and_cumulative_buckets() {
        let mut families = Families::new("chat");
        families.histogram(&RTT, &["c", ""], &HistogramValue { buckets: vec![2, 1, 4], sum: 9.5 });
        families.value(&OPENED, &["c", "", "outbound"], 1.0);
        families.value(&OPENED, &["c", "", "inbound"], 3.0);
        assert_eq!(families.series(), 7);
        let text = String::from_utf8(families.encode().unwrap()).unwrap();
        assert_eq!(
            text,
            "# HELP chat_tcp_connections_opened_total Connections opened.\n\
             # TYPE chat_tcp_connections_opened_total counter\n\
             chat_tcp_connections_opened_total{container=\"c\",app=\"\",direction=\"inbound\"} 3\n\
             chat_tcp_connections_opened_total{container=\"c\",app=\"\",direction=\"outbound\"} 1\n\
             # HELP chat_tcp_rtt_seconds Round-trip time.\n\
             # TYPE chat_tcp_rtt_seconds histogram\n\
             chat_tcp_rtt_seconds_bucket{container=\"c\",app=\"\",le=\"0.1\"} 2\n\
             chat_tcp_rtt_seconds_bucket{container=\"c\",app=\"\",le=\"1\"} 3\n\
             chat_tcp_rtt_seconds_bucket{container=\"c\",app=\"\",le=\"+Inf\"} 7\n\
             chat_tcp_rtt_seconds_sum{container=\"c\",app=\"\"} 9.5\n\
             chat_tcp_rtt_seconds_count{container=\"c\",app=\"\"} 7\n"
        );
    }
}
