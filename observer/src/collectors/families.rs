//! The families that a scrape builds from declarations and values, and their text.
//! Between the two a scrape holds every series at once, so they are kept as small as they come: a number each and the
//! labels' text. What the encoder takes, with a string for each name and each value, is made for a family at a time.

use std::collections::HashMap;

use prometheus::{
    Encoder as _, TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType},
};

use super::{
    metric::{HistogramValue, Kind, Metric, full_name},
    overflow::OTHER,
    series_budget::{Admitted, SeriesBudget},
};

/// Labels of every metric of a target, before its own.
const TARGET_LABELS: &[&str] = &["container", "app"];

/// The families of one scrape.
pub struct Families {
    prefix: String,
    list: Vec<Family>,
    /// By name, which a metric of targets may share with one of the agent (`process_…`).
    index: HashMap<(bool, &'static str), usize>,
    series: u64,
    /// None: there may be any number.
    budget: Option<SeriesBudget>,
}

/// The samples of one metric, in the order in which they came.
#[derive(Debug)]
struct Family {
    metric: &'static Metric,
    /// The label values of all samples, one behind the other.
    labels: String,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// A value for each sample, of a histogram the sum.
    values: Vec<f64>,
    /// The buckets of each sample of a histogram.
    buckets: Vec<u64>,
    /// The sample of each target that has those added up which have no place of their own.
    others: HashMap<u64, usize>,
}

impl Families {
    /// An empty scrape; `prefix` stands before the names of target metrics (`chat`).
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), list: Vec::new(), index: HashMap::new(), series: 0, budget: None }
    }

    /// Has no more series of a target than this allows.
    pub(super) fn with_budget(mut self, mut budget: SeriesBudget) -> Self {
        budget.begin();
        self.budget = Some(budget);
        self
    }

    /// Gives the budget back, for the next scrape.
    pub(super) fn take_budget(&mut self) -> Option<SeriesBudget> {
        self.budget.take()
    }

    /// Adds a counter's or gauge's value. `labels` are values in the order of the declaration, for a metric of a
    /// target with `container` and `app` before them.
    pub fn value(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        debug_assert!(
            !matches!(metric.kind, Kind::Histogram(_)),
            "{} is written as a single value",
            metric.name
        );
        self.push(metric, labels, value, &[]);
    }

    /// Adds a histogram's value.
    pub fn histogram(&mut self, metric: &'static Metric, labels: &[&str], value: &HistogramValue) {
        let Kind::Histogram(bounds) = metric.kind else {
            debug_assert!(false, "{} is written as a histogram", metric.name);
            return;
        };
        debug_assert_eq!(value.buckets.len(), bounds.len() + 1, "{}", metric.name);
        self.push(metric, labels, value.sum, &value.buckets);
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
    pub fn encode(self) -> anyhow::Result<Vec<u8>> {
        let Self { prefix, list, .. } = self;
        let mut list: Vec<(String, Family)> =
            list.into_iter().map(|family| (full_name(family.metric, &prefix), family)).collect();
        list.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut text = Vec::new();
        for (name, family) in list {
            TextEncoder::new().encode(&[family.into_encoded(name)], &mut text)?;
        }
        Ok(text)
    }

    fn push(&mut self, metric: &'static Metric, labels: &[&str], value: f64, buckets: &[u64]) {
        let admitted = match &mut self.budget {
            Some(budget) => budget.admit(metric, labels),
            None => Admitted::Yes,
        };
        let position = *self.index.entry((metric.of_target, metric.name)).or_insert_with(|| {
            self.list.push(Family::of(metric));
            self.list.len() - 1
        });
        let family = &mut self.list[position];
        debug_assert_eq!(labels.len(), family.label_names().count(), "{}", metric.name);
        let of_target = labels.len() - metric.labels.len();
        let other = match admitted {
            Admitted::AsOther(target) => {
                if let Some(sample) = family.others.get(&target) {
                    family.add(*sample, value, buckets);
                    return;
                }
                family.others.insert(target, family.values.len());
                true
            }
            Admitted::Yes => false,
        };
        self.series += metric.kind.series();
        for (index, label) in labels.iter().enumerate() {
            family.labels.push_str(if other && index >= of_target { OTHER } else { label });
            family.ends.push(family.labels.len());
        }
        family.values.push(value);
        family.buckets.extend(buckets);
    }
}

impl Family {
    fn of(metric: &'static Metric) -> Self {
        Self {
            metric,
            labels: String::new(),
            ends: Vec::new(),
            values: Vec::new(),
            buckets: Vec::new(),
            others: HashMap::new(),
        }
    }

    /// Adds to a sample.
    fn add(&mut self, sample: usize, value: f64, buckets: &[u64]) {
        let own = &mut self.values[sample];
        *own = self.metric.joined.join(*own, value);
        let own = self.buckets.iter_mut().skip(sample * buckets.len());
        for (own, added) in own.zip(buckets) {
            *own += added;
        }
    }

    fn label_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let of_target = if self.metric.of_target { TARGET_LABELS } else { &[] };
        of_target.iter().chain(self.metric.labels).copied()
    }

    /// The label values of one sample.
    fn labels_of(&self, sample: usize) -> impl Iterator<Item = &str> {
        let count = self.label_names().count();
        let first = sample * count;
        (first..first + count).map(|label| {
            let start = label.checked_sub(1).map_or(0, |before| self.ends[before]);
            &self.labels[start..self.ends[label]]
        })
    }

    /// The family as the encoder takes it, its samples in the order of their labels.
    fn into_encoded(self, name: String) -> MetricFamily {
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        order.sort_by(|a, b| self.labels_of(*a).cmp(self.labels_of(*b)));
        let mut encoded = MetricFamily::default();
        encoded.set_name(name);
        encoded.set_help(self.metric.help.to_owned());
        encoded.set_field_type(match self.metric.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram(_) => MetricType::HISTOGRAM,
        });
        // Targets that are called the same are one series: never is one served twice.
        let same = |a: &usize, b: &usize| self.labels_of(*a).eq(self.labels_of(*b));
        encoded.set_metric(order.chunk_by(same).map(|samples| self.encoded_sample(samples)).collect());
        encoded
    }

    /// One series out of samples of the same labels.
    fn encoded_sample(&self, samples: &[usize]) -> Sample {
        let labels = samples.first().into_iter().flat_map(|sample| self.labels_of(*sample));
        let pairs = self.label_names().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        let values = samples.iter().map(|sample| self.values[*sample]);
        let value = values.reduce(|a, b| self.metric.joined.join(a, b)).unwrap_or_default();
        let mut encoded = Sample::default();
        encoded.set_label(pairs.collect());
        match self.metric.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                encoded.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                encoded.set_gauge(gauge);
            }
            Kind::Histogram(bounds) => {
                let mut buckets = vec![0; bounds.len() + 1];
                for sample in samples {
                    let counted = &self.buckets[sample * buckets.len()..][..=bounds.len()];
                    buckets.iter_mut().zip(counted).for_each(|(sum, count)| *sum += count);
                }
                encoded.set_histogram(histogram(bounds, &buckets, value));
            }
        }
        encoded
    }
}

/// A histogram as the encoder takes it, out of buckets that are not cumulative.
fn histogram(bounds: &[f64], counts: &[u64], sum: f64) -> Histogram {
    let mut cumulative = 0;
    let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(sum);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::Joined;

    static OPENED: Metric = Metric {
        name: "tcp_connections_opened_total",
        help: "Connections opened.",
        kind: Kind::Counter,
        labels: &["direction"],
        of_target: true,
        joined: Joined::Sum,
    };
    static RTT: Metric = Metric {
        name: "tcp_rtt_seconds",
        help: "Round-trip time.",
        kind: Kind::Histogram(&[0.1, 1.0]),
        labels: &[],
        of_target: true,
        joined: Joined::Sum,
    };

    #[test]
    fn what_has_no_place_is_added_up_and_what_had_one_keeps_it() {
        use std::sync::Arc;

        use crate::{
            collectors::overflow::LabelOverflow,
            targets::{fixture::Fixed, over_budget::OverBudget},
        };

        static SERVED: Metric = Metric {
            name: "tcp_rtt_of_peers_seconds",
            help: "Round-trip time.",
            kind: Kind::Histogram(&[0.1, 1.0]),
            labels: &["peer"],
            of_target: true,
            joined: Joined::Sum,
        };
        static RTT_COUNT: Metric = Metric { name: "up", labels: &[], kind: Kind::Gauge, ..OPENED };
        let overflow = LabelOverflow::default();
        // A histogram has five series.
        let targets = Arc::new(Fixed([].into()));
        let mut budget = Some(SeriesBudget::new(7, targets, overflow.clone(), OverBudget::default()));
        let text = |directions: &[&str], budget: &mut Option<SeriesBudget>| {
            let mut families = Families::new("chat");
            // It forgets targets that are none at the begin of each scrape, which this does without.
            families.budget = budget.take();
            families.value(&RTT_COUNT, &["c", ""], 1.0);
            for direction in directions {
                families.value(&OPENED, &["c", "", direction], 1.0);
                families.histogram(
                    &SERVED,
                    &["c", "", direction],
                    &HistogramValue { buckets: vec![1, 2, 3], sum: 0.5 },
                );
                families.value(&OPENED, &["another", "", direction], 1.0);
            }
            *budget = families.take_budget();
            String::from_utf8(families.encode().unwrap()).unwrap()
        };
        let expected = [
            "chat_tcp_connections_opened_total{container=\"c\",app=\"\",direction=\"a\"} 1\n",
            "chat_tcp_connections_opened_total{container=\"c\",app=\"\",direction=\"b\"} 1\n",
            "chat_tcp_connections_opened_total{container=\"c\",app=\"\",direction=\"other\"} 2\n",
            "chat_tcp_connections_opened_total{container=\"another\",app=\"\",direction=\"d\"} 1\n",
            "chat_tcp_rtt_of_peers_seconds_bucket{container=\"c\",app=\"\",peer=\"a\",le=\"+Inf\"} 6\n",
            "chat_tcp_rtt_of_peers_seconds_bucket{container=\"c\",app=\"\",peer=\"other\",le=\"1\"} 9\n",
            "chat_tcp_rtt_of_peers_seconds_sum{container=\"c\",app=\"\",peer=\"other\"} 1.5\n",
            "chat_up{container=\"c\",app=\"\"} 1\n",
        ];
        for directions in [["a", "b", "c", "d"], ["d", "c", "b", "a"]] {
            let text = text(&directions, &mut budget);
            for line in expected {
                assert!(text.contains(line), "{line} is not in\n{text}");
            }
        }
        let told: u64 = overflow.counts().iter().map(|count| count.overflows).sum();
        assert_eq!(told, 5, "each series once");
    }

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
    fn samples_of_the_same_labels_are_one_series() {
        static UP: Metric = Metric::of_target("up", Kind::Gauge, &[], "Up.").highest();
        static LIMIT: Metric = Metric::of_target("limit", Kind::Gauge, &[], "Limit.").lowest();
        let mut families = Families::new("chat");
        for (other, value) in [("a", 3.0), ("same", 5.0), ("same", 7.0), ("same", 1.0)] {
            families.value(&OPENED, &[other, "", "inbound"], value);
            families.value(&UP, &[other, ""], value);
            families.value(&LIMIT, &[other, ""], value);
            families.histogram(&RTT, &[other, ""], &HistogramValue { buckets: vec![1, 0, 2], sum: value });
        }
        let text = String::from_utf8(families.encode().unwrap()).unwrap();
        for line in [
            "chat_tcp_connections_opened_total{container=\"a\",app=\"\",direction=\"inbound\"} 3",
            "chat_tcp_connections_opened_total{container=\"same\",app=\"\",direction=\"inbound\"} 13",
            "chat_up{container=\"same\",app=\"\"} 7",
            "chat_limit{container=\"same\",app=\"\"} 1",
            "chat_tcp_rtt_seconds_bucket{container=\"same\",app=\"\",le=\"0.1\"} 3",
            "chat_tcp_rtt_seconds_count{container=\"same\",app=\"\"} 9",
            "chat_tcp_rtt_seconds_sum{container=\"same\",app=\"\"} 13",
        ] {
            assert_eq!(text.lines().filter(|found| *found == line).count(), 1, "{line} in\n{text}");
        }
        assert_eq!(text.matches("chat_up{").count(), 2, "{text}");
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
