//! How many series each target may have in a scrape; further ones are added up as one per metric, with every label of the
//! metric's own as `other`. A series that was shown once keeps its place, so that none comes and goes.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use super::{Metric, over_budget, overflow::LabelOverflow};
use crate::targets::{TargetId, TargetList, over_budget::OverBudget};

/// How the label of an overflow is named where all labels of a metric were given up.
const ALL_LABELS: &str = "all";

/// The series of all targets.
pub struct SeriesBudget {
    most: u64,
    targets: Arc<dyn TargetList>,
    overflow: LabelOverflow,
    over_budget: OverBudget,
    hasher: RandomState,
    /// By the hash of the labels that all series of a target carry.
    shares: HashMap<u64, Share>,
}

#[derive(Debug, Default)]
struct Share {
    target: Option<TargetId>,
    /// Series that have a place, by their hashes, and how many they are where a histogram counts for its buckets.
    admitted: HashSet<u64>,
    series: u64,
    /// Those that have none, as far as they were counted.
    folded: HashSet<u64>,
}

impl SeriesBudget {
    /// `most` series for each of `targets`; `overflow` and `over_budget` are told of what has no place.
    pub fn new(
        most: u64,
        targets: Arc<dyn TargetList>,
        overflow: LabelOverflow,
        over_budget: OverBudget,
    ) -> Self {
        let (hasher, shares) = (RandomState::new(), HashMap::new());
        Self { most, targets, overflow, over_budget, hasher, shares }
    }

    /// Begins a scrape: forgets targets that are gone.
    pub(super) fn begin(&mut self) {
        let targets = self.targets.targets();
        let ids = targets.iter().map(|target| {
            let labels = [target.labels.container.as_str(), target.labels.app.as_str()];
            (self.hasher.hash_one(labels), target.id)
        });
        let ids: HashMap<u64, TargetId> = ids.collect();
        self.shares.retain(|target, _| ids.contains_key(target));
        for (target, id) in ids {
            self.shares.entry(target).or_default().target = Some(id);
        }
    }

    /// Which target a series is of, and whether it has a place of its own. `labels` are all, the target's first.
    pub(super) fn admit(&mut self, metric: &'static Metric, labels: &[&str]) -> Admitted {
        let (of_target, own) = labels.split_at(labels.len() - metric.labels.len());
        // What tells of a target that takes too much is not taken away for it.
        if !metric.of_target || own.is_empty() || metric.name == over_budget::METRICS[0].name {
            return Admitted::Yes;
        }
        let target = self.hasher.hash_one(of_target);
        let hash = self.hasher.hash_one((metric.name, own));
        let share = self.shares.entry(target).or_default();
        if share.admitted.contains(&hash) {
            return Admitted::Yes;
        }
        let series = metric.kind.series();
        if share.series + series <= self.most {
            share.series += series;
            share.admitted.insert(hash);
            return Admitted::Yes;
        }
        if (share.folded.len() as u64) < self.most && share.folded.insert(hash) {
            self.overflow.record(metric, ALL_LABELS);
        }
        if let Some(id) = share.target {
            self.over_budget.note(id, "series");
        }
        Admitted::AsOther(target)
    }
}

/// Whether a series has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It is shown as it is.
    Yes,
    /// It is added to those of this target that have none.
    AsOther(u64),
}
