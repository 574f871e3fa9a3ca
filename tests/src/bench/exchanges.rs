//! What the agent spends in userspace on HTTP while its target is saturated, and whether it keeps up.
//! The rate is the highest that the server reaches, so nothing that is slower can lose more.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{
    Setup,
    figure::{Budget, Figure, Measured},
    server::{Load, Server},
    statistics::Statistics,
    usage::{ThreadTimes, resident_mebibytes},
};
use crate::{agent::Agent, metrics::Metrics};

/// Runs, each with an agent of its own.
const RUNS: usize = 3;

/// How long the server is under load before memory is looked at: by then the agent has all its tables.
const SETTLE: Duration = Duration::from_secs(2);

/// How long it is under load then.
const LOAD: Duration = Duration::from_secs(6);

/// How long the last exchange may take to reach the metrics.
const COUNTED_WITHIN: Duration = Duration::from_secs(10);

/// What this file measures.
pub(super) static FIGURES: [Figure; 3] = [
    Figure {
        name: "exchange_cpu",
        unit: "µs/exchange",
        budget: Some(Budget::AtMost(1.0)),
        about: "CPU time of the agent, all threads, while the server is saturated, per request answered.",
    },
    Figure {
        name: "exchange_lost",
        unit: "records",
        budget: Some(Budget::AtMost(0.0)),
        about: "Records that the agent lost in that time.",
    },
    Figure {
        name: "exchange_memory_growth",
        unit: "MiB",
        budget: Some(Budget::AtMost(1.0)),
        about: "Resident memory of the agent after that time, less what it was before it.",
    },
];

/// Measures all figures of this file.
pub(super) fn measure(setup: &Setup) -> Result<Vec<Measured>> {
    let server = Server::start()?;
    server.warm_up()?;
    let _statistics = Statistics::switch(false)?;
    let mut runs: [Vec<f64>; 3] = Default::default();
    for _ in 0..RUNS {
        setup.go_on()?;
        for (runs, value) in runs.iter_mut().zip(run(&server)?) {
            runs.push(value);
        }
    }
    Ok(FIGURES.iter().zip(runs).map(|(figure, runs)| figure.measured(runs)).collect())
}

/// Microseconds per exchange, records lost, memory grown.
fn run(server: &Server) -> Result<[f64; 3]> {
    let agent = Agent::start(["--docker-socket", "", "--target", &server.cgroup().selector()])?;
    let first = server.load(SETTLE, Load::KeepAlive)?;
    let before = counted_at_least(&agent, first.requests)?;
    let (times, memory) = (ThreadTimes::read(agent.pid())?, resident_mebibytes(agent.pid())?);
    let done = server.load(LOAD, Load::KeepAlive)?;
    let after = counted_at_least(&agent, counted(&before) + done.requests)?;
    let time = ThreadTimes::read(agent.pid())?.since(&times);
    let lost = |metrics: &Metrics| metrics.sum("observer_records_lost_total", &[]);
    Ok([
        time.as_secs_f64() * 1e6 / done.requests,
        lost(&after) - lost(&before),
        resident_mebibytes(agent.pid())? - memory,
    ])
}

/// Requests that the agent has counted.
fn counted(metrics: &Metrics) -> f64 {
    metrics.sum("chat_http_requests_total", &[])
}

/// Waits until the agent has counted what wrk has; it may count a few more, whose answers wrk did not wait for.
fn counted_at_least(agent: &Agent, requests: f64) -> Result<Metrics> {
    let metrics = agent.scrape_until(COUNTED_WITHIN, |metrics| counted(metrics) >= requests)?;
    if counted(&metrics) < requests {
        bail!("{requests} requests were answered, and the observer counts {}", counted(&metrics));
    }
    Ok(metrics)
}
