//! What a Node.js server loses by having its event loop and its collections probed, beside all else that is observed.
//! Each round runs once with the probes and once without them, in alternating order.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{
    Setup,
    figure::{Budget, Figure, Measured},
    server::{Load, Server},
    statistics::Statistics,
};
use crate::agent::Agent;

/// Rounds of one run with and one without: many and short, because a virtual machine's speed changes by a fifth within
/// seconds. Medians of 5 rounds of 4 s were 0.89, 0.90 and 1.03 within 20 minutes.
const ROUNDS: usize = 11;

/// How long each run takes.
const LOAD: Duration = Duration::from_secs(2);

/// How long the agent may take to read the executable's symbols after it is ready.
const SETTLE: Duration = Duration::from_millis(1500);

/// What this file measures.
pub(super) static FIGURES: [Figure; 2] = [
    Figure {
        name: "nodejs_ratio",
        unit: "ratio",
        budget: Some(Budget::AtLeast(0.95)),
        about: "Requests per second of the saturated server with its event loop probed over those without, per round.",
    },
    Figure {
        name: "nodejs_one_ratio",
        unit: "ratio",
        budget: None,
        about: "The same with one request at a time, when each takes turns of the event loop of its own.",
    },
];

/// Measures all figures of this file.
pub(super) fn measure(setup: &Setup) -> Result<Vec<Measured>> {
    let server = Server::start()?;
    server.warm_up()?;
    let _statistics = Statistics::switch(false)?;
    let folder = TempDir::new().context("cannot make a folder")?;
    let without = folder.path().join("without.toml");
    std::fs::write(&without, "nodejs.enabled = false\n").context("cannot write a configuration")?;
    let without = without.to_string_lossy().into_owned();
    let mut runs: [Vec<f64>; 2] = Default::default();
    for round in 0..ROUNDS {
        for (load, runs) in [Load::KeepAlive, Load::OneByOne].into_iter().zip(&mut runs) {
            let run = |arguments: &[&str]| -> Result<f64> {
                setup.go_on()?;
                let always = ["--docker-socket", "", "--target", &server.cgroup().selector()];
                let agent = Agent::start([&always, arguments].concat())?;
                std::thread::sleep(SETTLE);
                let done = server.load(LOAD, load)?;
                agent.stop()?;
                Ok(done.per_second)
            };
            let without = ["--config", &without];
            let ratio = if round.is_multiple_of(2) {
                let without = run(&without)?;
                run(&[])? / without
            } else {
                let with = run(&[])?;
                with / run(&without)?
            };
            runs.push(ratio);
        }
    }
    Ok(FIGURES.iter().zip(runs).map(|(figure, runs)| figure.measured(runs)).collect())
}
