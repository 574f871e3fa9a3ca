//! Run time of the programs for a chunk of a stream, beside programs that do nothing, from the kernel's statistics.
//! A chunk is a packet out and, now and then, an acknowledgement in; both are counted.

use std::time::Duration;

use anyhow::Result;

use super::{
    Setup,
    figure::{Budget, Figure, Measured},
    objects::Object,
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
pub(super) static FIGURES: [Figure; 5] = [
    Figure {
        name: "stream_chunk_empty",
        unit: "ns/chunk",
        budget: None,
        about: "All packets of a streamed chunk in the empty programs, statistics included.",
    },
    Figure {
        name: "stream_chunk_floor",
        unit: "ns/chunk",
        budget: None,
        about: "All packets of a streamed chunk in programs that look up the socket's state, load 32 bytes, and do nothing with \
                them, over the empty programs.",
    },
    Figure {
        name: "stream_chunk_egress",
        unit: "ns/packet",
        budget: None,
        about: "A packet with a chunk from the target.",
    },
    Figure {
        name: "stream_chunk_ingress",
        unit: "ns/packet",
        budget: None,
        about: "An acknowledgement of chunks to the target.",
    },
    Figure {
        name: "stream_chunk_over_empty",
        unit: "ns/chunk",
        budget: Some(Budget::AtMost(100.0)),
        about: "All packets of a streamed chunk, over the empty programs.",
    },
];

/// Measures all figures of this file.
pub(super) fn measure(setup: &Setup) -> Result<Vec<Measured>> {
    let _statistics = Statistics::switch(true)?;
    let mut runs: [Vec<f64>; 5] = Default::default();
    for _ in 0..ROUNDS {
        setup.go_on()?;
        let [empty] = plain_round(&setup.empty)?;
        setup.go_on()?;
        let [floor] = plain_round(&setup.floor)?;
        setup.go_on()?;
        let [egress, ingress] = observer_round()?;
        let of = "the observer's program";
        let values = [
            per_chunk(&[empty]),
            per_chunk(&[floor]) - per_chunk(&[empty]),
            egress.nanoseconds_each(of)?,
            ingress.nanoseconds_each(of)?,
            per_chunk(&[egress, ingress]) - per_chunk(&[empty]),
        ];
        for (runs, value) in runs.iter_mut().zip(values) {
            runs.push(value);
        }
    }
    Ok(FIGURES.iter().zip(runs).map(|(figure, runs)| figure.measured(runs)).collect())
}

/// What both programs of an object cost together.
fn plain_round(object: &Object) -> Result<[Runs; 1]> {
    let cgroup = Cgroup::create("observer-bench")?;
    let load = StreamLoad::start(&cgroup, RATE)?;
    let programs = object.attach(&cgroup)?;
    streamed(load, || Ok([programs.runs()?]))
}

/// What the observer's programs cost: packets out, packets in.
fn observer_round() -> Result<[Runs; 2]> {
    let cgroup = Cgroup::create("observer-bench")?;
    let load = StreamLoad::start(&cgroup, RATE)?;
    let agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    streamed(load, || {
        let metrics = agent.scrape()?;
        Ok([Runs::of_program(&metrics, "packet_egress")?, Runs::of_program(&metrics, "packet_ingress")?])
    })
}

/// What `runs` grow by from the first chunk to the last.
fn streamed<const N: usize>(load: StreamLoad, runs: impl Fn() -> Result<[Runs; N]>) -> Result<[Runs; N]> {
    let mut streams = load.open()?;
    let before = runs()?;
    streams.wait_done()?;
    let mut spent = runs()?;
    streams.close()?;
    for (spent, before) in spent.iter_mut().zip(before) {
        *spent = *spent - before;
    }
    Ok(spent)
}

/// Nanoseconds in all of `runs` for each chunk that was streamed.
fn per_chunk(runs: &[Runs]) -> f64 {
    runs.iter().map(|runs| runs.seconds).sum::<f64>() * 1e9 / RATE.total() as f64
}
