//! What really happened to a target's connections, both ways, as the ends outside the target counted it.
//! Connects that failed are known from the target's own answers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail, ensure};

use crate::{
    agent::Agent,
    demo::{
        compare::Comparison,
        tally::{Ledger, Side},
    },
    metrics::Metrics,
};

/// How long the last close, or the last probe of a lost reset, may take to reach the metrics.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// Counts of one target's connections.
#[derive(Debug)]
pub struct Truth {
    /// Connections to the target.
    pub inbound: Arc<Ledger>,
    /// Connections of the target.
    pub outbound: Arc<Ledger>,
    failures: Mutex<BTreeMap<&'static str, u64>>,
}

impl Default for Truth {
    fn default() -> Self {
        let ledger = || Arc::new(Ledger::new(Side::Peer));
        Self { inbound: ledger(), outbound: ledger(), failures: Mutex::default() }
    }
}

impl Truth {
    /// Enters the answer of a target that was made to connect to where it cannot.
    pub fn failed(&self, answer: &str) -> Result<()> {
        let reason = match answer {
            "ECONNREFUSED" => "refused",
            "ETIMEDOUT" => "timeout",
            "EHOSTUNREACH" => "unreachable",
            "given up" => "other",
            _ => bail!("the target's connect was to fail, and ended with `{answer}`"),
        };
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
        Ok(())
    }

    /// Connects that failed so, by the reason's label.
    pub fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Beside `metrics`, which hold one target.
    pub fn compare(&self, metrics: &Metrics) -> Comparison {
        Comparison::new(&self.inbound.tally(), &self.outbound.tally(), metrics)
            .with_failures(&self.failures(), metrics)
    }

    /// Waits until the agent tells the same of `container` as the ends of its connections, each number to the unit.
    pub fn wait_equal(&self, agent: &Agent, container: &str) -> Result<Metrics> {
        let of_target = |metrics: &Metrics| metrics.only("container", container);
        let equal = |metrics: &Metrics| self.compare(&of_target(metrics)).equal();
        let metrics = of_target(&agent.scrape_until(SETTLED_WITHIN, equal)?);
        let comparison = self.compare(&metrics);
        println!("{container}:\n{comparison}");
        ensure!(comparison.equal(), "the metrics of {container} differ from what happened:\n{comparison}");
        Ok(metrics)
    }
}
