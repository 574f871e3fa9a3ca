//! One scrape: every collector, then the agent about itself, then the text.
//! It reads files and takes as long as they take: a server calls it from a thread that may block.

use std::time::Instant;

use super::{Families, Metric, Registry, agent::Agent, metric::full_name};

/// Everything that a scrape needs.
pub struct Scraper {
    registry: Registry,
    agent: Agent,
    prefix: String,
}

impl Scraper {
    /// `prefix` stands before the names of target metrics (`chat`).
    pub fn new(registry: Registry, agent: Agent, prefix: impl Into<String>) -> Self {
        Self { registry, agent, prefix: prefix.into() }
    }

    /// Every metric that a scrape may show, with the name under which it is served.
    pub fn metrics(&self) -> impl Iterator<Item = (String, &'static Metric)> + '_ {
        let metrics = self.registry.metrics().chain(Agent::metrics());
        metrics.map(|metric| (full_name(metric, &self.prefix), metric))
    }

    /// The exposition text of this moment.
    pub fn scrape(&self) -> anyhow::Result<Vec<u8>> {
        let started = Instant::now();
        let mut families = Families::new(self.prefix.as_str());
        let outcomes = self.registry.collect(&mut families);
        self.agent.collect(&mut families, &outcomes);
        let text = families.encode();
        self.agent.observe_scrape(started.elapsed());
        text
    }
}
