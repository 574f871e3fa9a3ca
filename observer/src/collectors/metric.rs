//! How a metric is declared.
//! A declaration is the only place with a metric's name, help and labels; the reference is generated from it.

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

impl Kind {
    /// Series that one value of it takes: a histogram counts its buckets, its sum and its count.
    pub(super) fn series(self) -> u64 {
        match self {
            Self::Histogram(bounds) => bounds.len() as u64 + 3,
            Self::Counter | Self::Gauge => 1,
        }
    }
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
    /// How two targets that are called the same are one series.
    pub joined: Joined,
}

/// How the values of two targets of the same labels become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Added up: what is counted, and what is used.
    Sum,
    /// The higher one: ages, and whether something holds.
    Highest,
    /// The lower one: limits that hold for each by itself.
    Lowest,
}

impl Joined {
    /// One value out of two.
    pub fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Sum => a + b,
            Self::Highest => a.max(b),
            Self::Lowest => a.min(b),
        }
    }
}

impl Metric {
    /// Declares a metric of a target, which gets the prefix and the labels `container` and `app`.
    pub const fn of_target(
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, help, kind, labels, of_target: true, joined: Joined::Sum }
    }

    /// Declares a metric of the agent itself.
    pub const fn of_agent(
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, help, kind, labels, of_target: false, joined: Joined::Sum }
    }

    /// Of two targets that are called the same, the higher value is shown.
    #[must_use]
    pub const fn highest(self) -> Self {
        Self { joined: Joined::Highest, ..self }
    }

    /// Of two targets that are called the same, the lower value is shown.
    #[must_use]
    pub const fn lowest(self) -> Self {
        Self { joined: Joined::Lowest, ..self }
    }
}

pub use super::bounds::{GAP, LLM, LONG, REQUEST, SHORT, SIZE};

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

/// The name under which a metric is served.
pub fn full_name(metric: &Metric, prefix: &str) -> String {
    if metric.of_target { format!("{prefix}_{}", metric.name) } else { metric.name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
