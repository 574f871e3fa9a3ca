//! How long the agent takes from its start until it is attached and ready.
//! Asked every millisecond, so that the asking hardly counts.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{
    Setup,
    figure::{Budget, Figure, Measured},
    server::Server,
};
use crate::{agent::Agent, http};

/// Starts of which the median is taken.
const RUNS: usize = 9;

/// How long a start may take at all.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// How often readiness is asked for.
const POLL: Duration = Duration::from_millis(1);

/// What this file measures.
pub(super) static FIGURES: [Figure; 1] = [Figure {
    name: "start_ready",
    unit: "ms",
    budget: Some(Budget::AtMost(500.0)),
    about: "From the start of the agent until /readyz says that it is attached to its one target.",
}];

/// Measures all figures of this file.
pub(super) fn measure(setup: &Setup) -> Result<Vec<Measured>> {
    let server = Server::start()?;
    let arguments = ["--docker-socket", "", "--target", &server.cgroup().selector()].map(str::to_owned);
    let mut runs = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        setup.go_on()?;
        let (agent, ready) = until_ready(&arguments)?;
        runs.push(ready.as_secs_f64() * 1e3);
        agent.stop()?;
    }
    let [start_ready] = &FIGURES;
    Ok(vec![start_ready.measured(runs)])
}

/// Starts an agent; how long it took until it was ready.
pub(super) fn until_ready(arguments: &[String]) -> Result<(Agent, Duration)> {
    let start = Instant::now();
    let mut agent = Agent::serving("127.0.0.1:0", arguments)?;
    while !http::get(agent.address(), "/readyz").is_ok_and(|answer| answer.status == 200) {
        if start.elapsed() > READY_WITHIN {
            let wrote = agent.process().output();
            bail!("the observer is not ready after {READY_WITHIN:?}; it wrote:\n{wrote}");
        }
        thread::sleep(POLL);
    }
    Ok((agent, start.elapsed()))
}
