//! What the agent costs while nothing happens: its target is up and idle, and nobody scrapes.
//! The programs do not run then; this is the agent's own process.

use std::{thread, time::Duration};

use anyhow::Result;

use super::{
    Setup,
    figure::{Budget, Figure, Measured},
    server::Server,
    usage::ThreadTimes,
};
use crate::agent::Agent;

/// Runs, one after the other with the same agent.
const RUNS: usize = 3;

/// How long each is.
const IDLE: Duration = Duration::from_secs(10);

/// For what belongs to the start to be over.
const SETTLE: Duration = Duration::from_secs(1);

/// What this file measures.
pub(super) static FIGURES: [Figure; 1] = [Figure {
    name: "idle_cpu",
    unit: "% of a core",
    budget: Some(Budget::AtMost(0.1)),
    about: "CPU of the agent over 10 s with an idle target and no scrape.",
}];

/// Measures all figures of this file.
pub(super) fn measure(setup: &Setup) -> Result<Vec<Measured>> {
    let server = Server::start()?;
    let mut agent = Agent::start(["--docker-socket", "", "--target", &server.cgroup().selector()])?;
    thread::sleep(SETTLE);
    let pid = agent.process().pid();
    let mut runs = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        setup.go_on()?;
        let before = ThreadTimes::read(pid)?;
        thread::sleep(IDLE);
        let used = ThreadTimes::read(pid)?.since(&before);
        runs.push(used.as_secs_f64() / IDLE.as_secs_f64() * 100.0);
    }
    let [idle_cpu] = &FIGURES;
    Ok(vec![idle_cpu.measured(runs)])
}
