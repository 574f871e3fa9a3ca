//! What a saturated server loses by being observed: requests per second and the slowest answers, as ratios.
//! Each round runs once without and once with the observer, in alternating order.

use std::time::Duration;

use anyhow::Result;

use super::{
    Setup,
    figure::{Budget, Figure, Measured},
    server::{Done, Load, Server},
    statistics::Statistics,
};
use crate::agent::Agent;

/// Rounds of one run without and one with: many, because a virtual machine changes its speed by a fifth within seconds.
const ROUNDS: usize = 11;

/// How long each run takes.
const LOAD: Duration = Duration::from_secs(4);

/// What this file measures.
pub(super) static FIGURES: [Figure; 4] = [
    Figure {
        name: "requests_without",
        unit: "requests/s",
        budget: None,
        about: "A saturated Node.js server: 16 connections, keep-alive, answers of 200 bytes.",
    },
    Figure {
        name: "requests_with",
        unit: "requests/s",
        budget: None,
        about: "The same while it is observed.",
    },
    Figure {
        name: "requests_ratio",
        unit: "ratio",
        budget: Some(Budget::AtLeast(0.97)),
        about: "Requests per second with the observer over those without, per round.",
    },
    Figure {
        name: "p99_ratio",
        unit: "ratio",
        budget: Some(Budget::AtMost(1.1)),
        about: "Latency that one request in a hundred exceeds, with over without, per round.",
    },
];

/// Measures all figures of this file.
pub(super) fn measure(setup: &Setup) -> Result<Vec<Measured>> {
    let server = Server::start()?;
    server.warm_up()?;
    let _statistics = Statistics::switch(false)?;
    let mut runs: [Vec<f64>; 4] = Default::default();
    for round in 0..ROUNDS {
        let (without, with) = if round.is_multiple_of(2) {
            let without = unobserved(setup, &server)?;
            (without, observed(setup, &server)?)
        } else {
            let with = observed(setup, &server)?;
            (unobserved(setup, &server)?, with)
        };
        let values = [
            without.per_second,
            with.per_second,
            with.per_second / without.per_second,
            with.p99.as_secs_f64() / without.p99.as_secs_f64(),
        ];
        for (runs, value) in runs.iter_mut().zip(values) {
            runs.push(value);
        }
    }
    Ok(FIGURES.iter().zip(runs).map(|(figure, runs)| figure.measured(runs)).collect())
}

fn unobserved(setup: &Setup, server: &Server) -> Result<Done> {
    setup.go_on()?;
    server.load(LOAD, Load::KeepAlive)
}

fn observed(setup: &Setup, server: &Server) -> Result<Done> {
    setup.go_on()?;
    let agent = Agent::start(["--docker-socket", "", "--target", &server.cgroup().selector()])?;
    let done = server.load(LOAD, Load::KeepAlive)?;
    agent.stop()?;
    Ok(done)
}
