//! One file per subject: its state, its metrics; a scrape calls each collector once.
//! This file is the registry, which knows no subject.

pub mod agent;
pub mod bounds;
pub mod container;
pub mod families;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod held_targets;
pub mod kernel;
pub mod metric;
pub mod nodejs;
mod oom_kills;
pub mod over_budget;
pub mod overflow;
mod parallel;
pub(crate) mod peer_names;
pub mod process;
pub mod scraper;
pub mod series_budget;
pub mod target;
pub mod tcp;

use std::time::Instant;

pub use families::Families;
pub use metric::{Joined, Kind, Metric};

/// Turns what is known of one subject into metric families at the moment of a scrape.
pub trait Collector: Send + Sync {
    /// Name in `observer_collector_success`.
    fn name(&self) -> &'static str;
    /// Every metric that [`Collector::collect`] may write, for the reference.
    fn metrics(&self) -> &'static [Metric];
    /// Brings up to date what several collectors read: in a scrape, every collector's is called before the first
    /// [`Collector::collect`].
    fn prepare(&self) -> anyhow::Result<()> {
        Ok(())
    }
    /// Writes the families. What was written before an error is still served.
    fn collect(&self, families: &mut Families) -> anyhow::Result<()>;
}

/// The outcome of one collector in one scrape.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Which collector.
    pub collector: &'static str,
    /// Whether it returned without an error.
    pub success: bool,
}

/// All collectors of the agent, in the order of their registration.
#[derive(Default)]
pub struct Registry {
    collectors: Vec<Box<dyn Collector>>,
}

impl Registry {
    /// Adds a collector.
    pub fn register(&mut self, collector: impl Collector + 'static) {
        self.collectors.push(Box::new(collector));
    }

    /// Every metric of every registered collector.
    pub fn metrics(&self) -> impl Iterator<Item = &'static Metric> + '_ {
        self.collectors.iter().flat_map(|collector| collector.metrics())
    }

    /// Runs every collector; one that fails is logged and does not keep the others from being served.
    pub fn collect(&self, families: &mut Families) -> Vec<Outcome> {
        let prepared: Vec<_> = self.collectors.iter().map(|collector| collector.prepare()).collect();
        let mut collect_one = |collector: &dyn Collector, prepared: anyhow::Result<()>| {
            let started = Instant::now();
            let collected = collector.collect(families);
            let result = prepared.and(collected);
            if let Err(error) = &result {
                tracing::warn!(
                    collector = collector.name(),
                    elapsed = ?started.elapsed(),
                    error = format!("{error:#}"),
                    "a collector failed; its metrics are incomplete in this scrape"
                );
            }
            Outcome { collector: collector.name(), success: result.is_ok() }
        };
        let both = self.collectors.iter().zip(prepared);
        both.map(|(collector, prepared)| collect_one(collector.as_ref(), prepared)).collect()
    }
}
