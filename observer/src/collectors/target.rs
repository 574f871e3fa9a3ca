//! What is known of each target, whether it lives, and how often it came back.
//! `target_info` carries the metadata that the other series are joined with.

use std::{collections::HashMap, sync::Arc};

use super::{Collector, Families, Kind, Metric, parallel};
use crate::{
    cgroup::{files::populated, mounts::CgroupMounts},
    targets::{Labels, Target, TargetList},
};

pub(crate) static METRICS: [Metric; 3] = [
    Metric::of_target(
        "target_info",
        Kind::Gauge,
        &[
            "image",
            "image_digest",
            "container_id",
            "runtime",
            "pod_uid",
            "workload",
            "workload_kind",
            "node",
            "unit",
            "version",
            "compose_project",
            "compose_service",
            "replica",
        ],
        "What is known of the target's newest instance; always 1.",
    ),
    Metric::of_target("target_up", Kind::Gauge, &[], "1 while the target has a live process, else 0.")
        .highest(),
    Metric::of_target(
        "target_restarts_total",
        Kind::Counter,
        &[],
        "Times the target came back after it had gone or had run empty.",
    ),
];

/// The section "Target" of the metrics.
pub struct TargetCollector {
    targets: Arc<dyn TargetList>,
    mounts: Arc<CgroupMounts>,
}

impl TargetCollector {
    /// Reads which cgroups live below the v2 root of `mounts`.
    pub fn new(targets: Arc<dyn TargetList>, mounts: Arc<CgroupMounts>) -> Self {
        Self { targets, mounts }
    }

    fn is_up(&self, target: &Target) -> bool {
        let mut directories = target.cgroups.iter().filter_map(|cgroup| self.mounts.directory(cgroup));
        // What cannot be told now is not the end of it.
        directories.any(|directory| populated(&directory).unwrap_or(Some(true)) == Some(true))
    }
}

impl Collector for TargetCollector {
    fn name(&self) -> &'static str {
        "target"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn collect(&self, families: &mut Families) -> anyhow::Result<()> {
        let [target_info, target_up, target_restarts] = &METRICS;
        let targets = self.targets.targets();
        let mut jobs: Vec<(&Target, bool)> = targets.iter().map(|target| (target, false)).collect();
        parallel::for_each(&mut jobs, |(target, up)| *up = self.is_up(target));
        // Of targets that are called the same, one tells: other series are joined with this one by their name.
        let mut told: HashMap<&Labels, (bool, &Target)> = HashMap::new();
        for (target, up) in &jobs {
            let best = told.entry(&target.labels).or_insert((*up, target));
            if (*up, target.id) >= (best.0, best.1.id) {
                *best = (*up, target);
            }
        }
        for (_, target) in told.into_values() {
            let (container, app) = (target.labels.container.as_str(), target.labels.app.as_str());
            let info = &target.info;
            let labels = [
                container,
                app,
                &info.image,
                &info.image_digest,
                &info.container_id,
                &info.runtime,
                &info.pod_uid,
                &info.workload,
                &info.workload_kind,
                &info.node,
                &info.unit,
                &info.version,
                &info.compose_project,
                &info.compose_service,
                &info.replica,
            ];
            families.value(target_info, &labels, 1.0);
        }
        for (target, up) in jobs {
            let (container, app) = (target.labels.container.as_str(), target.labels.app.as_str());
            families.value(target_up, &[container, app], f64::from(u8::from(up)));
            families.value(target_restarts, &[container, app], target.restarts as f64);
        }
        Ok(())
    }
}
