//! Counts label values that found no room in their metric's budget and were written as `other`.
//! One handle is shared by every collector with an open-ended label; the agent's own metrics show it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::Metric;

/// The label value of everything past a budget.
pub const OTHER: &str = "other";

/// A label of a metric, told apart by the metric's declared name and whether it is one of targets.
type Label = (bool, &'static str, &'static str);

/// `observer_label_overflow_total`: a clone counts into the same place.
#[derive(Clone, Default, Debug)]
pub struct LabelOverflow {
    counts: Arc<Mutex<BTreeMap<Label, Count>>>,
}

/// How often one label of one metric overflowed.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// The metric whose label it is.
    pub metric: &'static Metric,
    /// Name of the label.
    pub label: &'static str,
    /// Values (not samples) that became [`OTHER`].
    pub overflows: u64,
}

impl LabelOverflow {
    /// Makes the label's series exist at 0, so that its first overflow is seen as an increase.
    pub fn declare(&self, metric: &'static Metric, label: &'static str) {
        self.add(metric, label, 0);
    }

    /// Counts one value that became [`OTHER`].
    pub fn record(&self, metric: &'static Metric, label: &'static str) {
        self.add(metric, label, 1);
    }

    /// The counts so far, in the order of their names.
    pub fn counts(&self) -> Vec<Count> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.values().copied().collect()
    }

    fn add(&self, metric: &'static Metric, label: &'static str, overflows: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((metric.of_target, metric.name, label)).or_insert(Count {
            metric,
            label,
            overflows: 0,
        });
        count.overflows += overflows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::Kind;

    static PROCESSES: Metric = Metric::of_target("processes", Kind::Gauge, &["process"], "Processes.");

    #[test]
    fn clones_count_into_one_place_and_declared_labels_start_at_zero() {
        let overflow = LabelOverflow::default();
        overflow.declare(&PROCESSES, "process");
        assert_eq!(overflow.counts()[0].overflows, 0);
        overflow.clone().record(&PROCESSES, "process");
        overflow.record(&PROCESSES, "process");
        let counts = overflow.counts();
        assert_eq!(counts.len(), 1);
        assert_eq!((counts[0].label, counts[0].overflows), ("process", 2));
    }
}
