//! Run time of the programs for a chunk of a stream, beside programs that do nothing, from the kernel's statistics.
//! A chunk is a packet out and, now and then, an acknowledgement in; both are counted.

use std::time::Duration;

use anyhow::Result;

use super::{
    Setup,
    empty::Empty,
    figure::{Budget, Figure, Measured},
    run_time::Runs,
    statistics::Statistics,
    stream_load::{Rate, StreamLoad},
};
use crate::{agent::Agent, cgroup::Cgroup};

/// Rounds; in each the empty programs and the observer take turns.
const ROUNDS: usize = 5;

/// 20,000 chunks a second for two seconds.
const RATE: Rate = Rate { streams: 400, chunks: 100, interval: Duration::from_millis(20) };

/// What this file measures.
pub(super) static FIGURES: [Figure; 1] = [Figure {
    name: "stream_chunk_over_empty",
    unit: "ns/chunk",
    budget: Some(Budget::AtMost(100.0)),
    about: "All packets of a streamed chunk, over the empty programs.",
}];

/// Measures all figures of this file.
pub(super) fn measure(setup: &Setup) -> Result<Vec<Measured>> {
    let _statistics = Statistics::switch(true)?;
    let mut runs = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        setup.go_on()?;
        let empty = empty_round(setup)?;
        setup.go_on()?;
        runs.push(observer_round()? - empty);
    }
    let [over_empty] = &FIGURES;
    Ok(vec![over_empty.measured(runs)])
}

/// Nanoseconds per chunk of the empty programs.
fn empty_round(setup: &Setup) -> Result<f64> {
    let cgroup = Cgroup::create("observer-bench")?;
    let load = StreamLoad::start(&cgroup, RATE)?;
    let programs = Empty::attach(&setup.empty_object, &cgroup)?;
    per_chunk(load, || programs.runs())
}

/// Nanoseconds per chunk of the observer's programs.
fn observer_round() -> Result<f64> {
    let cgroup = Cgroup::create("observer-bench")?;
    let load = StreamLoad::start(&cgroup, RATE)?;
    let agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    per_chunk(load, || {
        let metrics = agent.scrape()?;
        let mut sum = Runs::default();
        for program in ["packet_ingress", "packet_egress"] {
            sum += Runs::of_program(&metrics, program)?;
        }
        Ok(sum)
    })
}

/// What `runs` grow by from the first chunk to the last, in nanoseconds per chunk.
fn per_chunk(load: StreamLoad, runs: impl Fn() -> Result<Runs>) -> Result<f64> {
    let mut streams = load.open()?;
    let before = runs()?;
    streams.wait_done()?;
    let spent = runs()? - before;
    streams.close()?;
    Ok(spent.seconds * 1e9 / RATE.total() as f64)
}
