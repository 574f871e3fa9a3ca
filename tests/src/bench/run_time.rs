//! Run time per program and event, beside programs that do nothing, from the kernel's own statistics.
//! The statistics themselves and the kernel's call are in every figure, which is why the empty program is one too.

use std::{
    ops::{AddAssign, Sub},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    Setup,
    figure::{Budget, Figure, Measured},
    objects::Object,
    server::{Load, Server},
    statistics::Statistics,
};
use crate::{agent::Agent, metrics::Metrics};

/// Rounds; in each the empty programs and the observer take turns.
const ROUNDS: usize = 5;

/// How long each is under load.
const LOAD: Duration = Duration::from_secs(3);

/// What this file measures.
pub(super) static FIGURES: [Figure; 7] = [
    Figure {
        name: "run_time_empty",
        unit: "ns/packet",
        budget: None,
        about: "A cgroup_skb program that does nothing, statistics included.",
    },
    Figure {
        name: "run_time_packet_ingress",
        unit: "ns/packet",
        budget: None,
        about: "A packet to the target.",
    },
    Figure {
        name: "run_time_packet_egress",
        unit: "ns/packet",
        budget: None,
        about: "A packet from the target.",
    },
    Figure {
        name: "exchange_floor",
        unit: "ns/exchange",
        budget: None,
        about: "All packets of an HTTP request and its answer in programs that look up the socket's state, load 32 bytes, and do \
                nothing with them, over the empty programs.",
    },
    Figure {
        name: "exchange_over_empty",
        unit: "ns/exchange",
        budget: Some(Budget::AtMost(700.0)),
        about: "All packets of an HTTP request and its answer, over the empty programs.",
    },
    Figure {
        name: "run_time_socket_events",
        unit: "ns/event",
        budget: None,
        about: "A sock_ops call for a connection of the target; the kernel makes several while it opens.",
    },
    Figure {
        name: "run_time_socket_state",
        unit: "ns/change",
        budget: None,
        about: "A change of the TCP state of a target's connection.",
    },
];

/// What programs cost: time and runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Runs {
    /// Time in them, on all CPUs.
    pub seconds: f64,
    /// How often they ran.
    pub count: f64,
}

impl Runs {
    /// Of one of the observer's programs, as its metrics show them.
    pub(super) fn of_program(metrics: &Metrics, program: &str) -> Result<Self> {
        let value = |name| {
            let found = metrics.get(name, &[("program", program)]);
            found.with_context(|| format!("the observer shows no {name} of {program}"))
        };
        let seconds = value("observer_program_run_seconds_total")?;
        Ok(Self { seconds, count: value("observer_program_runs_total")? })
    }

    pub(super) fn nanoseconds_each(self, of: &str) -> Result<f64> {
        if self.count < 1.0 {
            bail!("{of} did not run under load");
        }
        Ok(self.seconds * 1e9 / self.count)
    }
}

impl AddAssign for Runs {
    fn add_assign(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.count += other.count;
    }
}

impl Sub for Runs {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { seconds: self.seconds - before.seconds, count: self.count - before.count }
    }
}

/// Measures all figures of this file.
pub(super) fn measure(setup: &Setup) -> Result<Vec<Measured>> {
    let server = Server::start()?;
    server.warm_up()?;
    let _statistics = Statistics::switch(true)?;
    let mut runs: [Vec<f64>; 7] = Default::default();
    for _ in 0..ROUNDS {
        setup.go_on()?;
        let empty = plain_round(&setup.empty, &server)?;
        setup.go_on()?;
        let floor = plain_round(&setup.floor, &server)?;
        setup.go_on()?;
        let [ingress, egress, others @ ..] = observer_round(&server, &empty)?;
        let first = [empty.each, ingress, egress, floor.per_exchange - empty.per_exchange];
        for (runs, value) in runs.iter_mut().zip(first.into_iter().chain(others)) {
            runs.push(value);
        }
    }
    Ok(FIGURES.iter().zip(runs).map(|(figure, runs)| figure.measured(runs)).collect())
}

/// What programs for comparison cost, in nanoseconds.
struct PlainCost {
    each: f64,
    per_exchange: f64,
}

fn plain_round(object: &Object, server: &Server) -> Result<PlainCost> {
    let programs = object.attach(server.cgroup())?;
    let done = server.load(LOAD, Load::KeepAlive)?;
    let runs = programs.runs()?;
    Ok(PlainCost {
        each: runs.nanoseconds_each("a program for comparison")?,
        per_exchange: runs.seconds * 1e9 / done.requests,
    })
}

/// Packets in, packets out, exchange over empty, connection events, changes of state.
fn observer_round(server: &Server, empty: &PlainCost) -> Result<[f64; 5]> {
    let agent = Agent::start(["--docker-socket", "", "--target", &server.cgroup().selector()])?;
    let programs = ["packet_ingress", "packet_egress", "socket_events", "socket_state"];
    let under = |load| -> Result<([Runs; 4], f64)> {
        let before = agent.scrape()?;
        let done = server.load(LOAD, load)?;
        let after = agent.scrape()?;
        let mut runs = [Runs::default(); 4];
        for (runs, program) in runs.iter_mut().zip(programs) {
            *runs = Runs::of_program(&after, program)? - Runs::of_program(&before, program)?;
        }
        Ok((runs, done.requests))
    };
    let ([ingress, egress, ..], requests) = under(Load::KeepAlive)?;
    let ([.., events, state], _) = under(Load::Reconnect)?;
    let exchange = (ingress.seconds + egress.seconds) * 1e9 / requests - empty.per_exchange;
    Ok([
        ingress.nanoseconds_each("packet_ingress")?,
        egress.nanoseconds_each("packet_egress")?,
        exchange,
        events.nanoseconds_each("socket_events")?,
        state.nanoseconds_each("socket_state")?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_cost_is_read_from_the_metrics() {
        let metrics = Metrics::parse(
            "observer_program_run_seconds_total{program=\"packet_egress\"} 0.5\n\
             observer_program_runs_total{program=\"packet_egress\"} 1e6\n",
        )
        .unwrap();
        let runs = Runs::of_program(&metrics, "packet_egress").unwrap();
        assert!((runs.nanoseconds_each("it").unwrap() - 500.0).abs() < 1e-6);
        assert!((runs - runs).nanoseconds_each("it").is_err());
        let error = Runs::of_program(&metrics, "packet_ingress").unwrap_err().to_string();
        assert!(error.contains("packet_ingress"), "{error}");
    }
}
