//! What the agent's process costs while its target streams 100,000 chunks a second to 5,000 clients, and what it loses.
//! Prometheus' usual scrapes are part of it.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Setup,
    figure::{Budget, Figure, Measured},
    stream_load::{Rate, StreamLoad},
    usage::{self, ThreadTimes},
};
use crate::{agent::Agent, cgroup::Cgroup, metrics::Metrics, process::PATIENCE};

/// Runs, each with an agent of its own.
const RUNS: usize = 3;

/// 20 chunks a second each, for ten seconds.
const RATE: Rate = Rate { streams: 5000, chunks: 200, interval: Duration::from_millis(50) };

/// Twice in a run, which is more often than most scrape.
const SCRAPED_EVERY: Duration = Duration::from_secs(5);

/// What this file measures.
pub(super) static FIGURES: [Figure; 3] = [
    Figure {
        name: "streams_cpu",
        unit: "% of a core",
        budget: Some(Budget::AtMost(10.0)),
        about: "CPU of the agent at 5,000 open streams with 20 chunks a second each, scraped every 5 s.",
    },
    Figure {
        name: "streams_lost",
        unit: "chunks",
        budget: Some(Budget::AtMost(0.0)),
        about: "Of the same million chunks, those that the metrics lack, and all records that were lost.",
    },
    Figure {
        name: "streams_memory",
        unit: "MiB",
        budget: None,
        about: "Resident memory of the agent after the same streams.",
    },
];

/// Measures all figures of this file.
pub(super) fn measure(setup: &Setup) -> Result<Vec<Measured>> {
    let mut runs: [Vec<f64>; 3] = Default::default();
    for _ in 0..RUNS {
        setup.go_on()?;
        for (runs, value) in runs.iter_mut().zip(run()?) {
            runs.push(value);
        }
    }
    Ok(FIGURES.iter().zip(runs).map(|(figure, runs)| figure.measured(runs)).collect())
}

/// CPU, losses, memory.
fn run() -> Result<[f64; 3]> {
    let cgroup = Cgroup::create("observer-bench")?;
    let load = StreamLoad::start(&cgroup, RATE)?;
    let agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    let mut streams = load.open()?;
    let (begun, before) = (Instant::now(), ThreadTimes::read(agent.pid())?);
    while begun.elapsed() + SCRAPED_EVERY < RATE.duration() + Duration::from_secs(1) {
        thread::sleep(SCRAPED_EVERY);
        agent.scrape()?;
    }
    streams.wait_done()?;
    let used = ThreadTimes::read(agent.pid())?.since(&before).as_secs_f64() / begun.elapsed().as_secs_f64();
    let written = RATE.total() as f64;
    let lacking =
        |metrics: &Metrics| written - metrics.sum("chat_stream_chunks_total", &[("direction", "sent")]);
    let metrics = agent.scrape_until(PATIENCE, |metrics| lacking(metrics).abs() < 0.5)?;
    let lost = lacking(&metrics).abs() + metrics.sum("observer_records_lost_total", &[]);
    let memory = usage::resident_mebibytes(agent.pid())?;
    streams.close()?;
    Ok([used * 100.0, lost, memory])
}
