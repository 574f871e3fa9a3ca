//! One scrape: every collector, then the agent about itself, then the text.
//! It reads files and takes as long as they take: a server calls it from a thread that may block.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    Families, Metric, Registry, agent::Agent, held_targets::HeldTargets, metric::full_name,
    series_budget::SeriesBudget,
};

/// Everything that a scrape needs.
pub struct Scraper {
    registry: Registry,
    agent: Agent,
    prefix: String,
    targets: Option<Arc<HeldTargets>>,
    /// Taken by a scrape for as long as it lasts.
    budget: Mutex<Option<SeriesBudget>>,
}

impl Scraper {
    /// Shows no more series of a target than this allows.
    #[must_use]
    pub fn with_budget(self, budget: SeriesBudget) -> Self {
        Self { budget: Mutex::new(Some(budget)), ..self }
    }

    /// `prefix` stands before the names of target metrics (`chat`).
    pub fn new(registry: Registry, agent: Agent, prefix: impl Into<String>) -> Self {
        Self { registry, agent, prefix: prefix.into(), targets: None, budget: Mutex::default() }
    }

    /// Holds this list, which the collectors read, while a scrape lasts.
    #[must_use]
    pub fn holding(self, targets: Arc<HeldTargets>) -> Self {
        Self { targets: Some(targets), ..self }
    }

    /// Every metric that a scrape may show, with the name under which it is served.
    pub fn metrics(&self) -> impl Iterator<Item = (String, &'static Metric)> + '_ {
        let metrics = self.registry.metrics().chain(Agent::metrics());
        metrics.map(|metric| (full_name(metric, &self.prefix), metric))
    }

    /// The exposition text of this moment.
    pub fn scrape(&self) -> anyhow::Result<Vec<u8>> {
        let started = Instant::now();
        let _held = self.targets.as_ref().map(|targets| targets.hold());
        let mut families = Families::new(self.prefix.as_str());
        // Scrapes come one at a time; one beside another would have no bound, and not wait.
        if let Some(budget) = self.budget().take() {
            families = families.with_budget(budget);
        }
        let outcomes = self.registry.collect(&mut families);
        self.agent.collect(&mut families, &outcomes);
        if let Some(budget) = families.take_budget() {
            self.budget().replace(budget);
        }
        let text = families.encode();
        self.agent.observe_scrape(started.elapsed());
        text
    }

    fn budget(&self) -> MutexGuard<'_, Option<SeriesBudget>> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
