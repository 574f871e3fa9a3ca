//! The agent stopped by SIGSTOP while its target is under full load: what it could not take in is counted as lost, and
//! its counts of connections are exact at once when it goes on.

use std::{fmt, path::Path, time::Duration};

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::{
    application::{Application, Priority},
    calls::{Caller, Manner},
};
use crate::{
    agent::Agent, bench::usage::resident_mebibytes, cgroup::Cgroup, metrics::Metrics, process::PATIENCE,
};

/// How long the target is under load before the agent is stopped: by then the agent has all its tables.
const SETTLE: Duration = Duration::from_secs(3);

/// Resident memory that the agent may gain.
const GROWTH_MIB: f64 = 2.0;

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    stopped: Duration,
    answered: u64,
    connections: u64,
    counted: f64,
    lost: f64,
    memory: [f64; 2],
}

/// Stops the agent for so long; `program` is the one with the client.
pub fn run(program: &Path, stopped: Duration) -> Result<Outcome> {
    let cgroup = Cgroup::create("faults")?;
    let application = Application::start(&cgroup, Priority::Usual)?;
    let mut agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    let full = Manner { server: application.address(), connections: 16, renewed_after: 50, every: 0 };
    let caller = Caller::start(program, full, Priority::Usual)?;
    super::sleep(SETTLE)?;
    let before = agent.scrape()?;
    let lost = |metrics: &Metrics| metrics.sum("observer_records_lost_total", &[]);
    ensure!(lost(&before) < 0.5, "{} were lost before", lost(&before));
    let memory = resident_mebibytes(agent.pid())?;

    agent.process().signal(Signal::STOP)?;
    super::sleep(stopped)?;
    let calls = caller.end()?;
    agent.process().signal(Signal::CONT)?;
    // The first scrape, whatever waits in the rings.
    let first = agent.scrape()?;
    calls.require_no_failure()?;
    let connections = |name: &str| {
        first.sum(&format!("chat_tcp_connections{name}"), &[("direction", "inbound")]).to_string()
    };
    let counts = [connections("_opened_total"), connections("_closed_total"), connections("")];
    let expected = [calls.opened, calls.closed, 0].map(|count| count.to_string());
    ensure!(counts == expected, "opened, closed and open are {counts:?} and not {expected:?}");

    let counted = |metrics: &Metrics| metrics.sum("chat_http_requests_total", &[]);
    let ring_full = |metrics: &Metrics| {
        metrics.sum("observer_records_lost_total", &[("kind", "exchange"), ("reason", "ring_full")])
    };
    let all = |metrics: &Metrics| counted(metrics) + ring_full(metrics);
    let settled = |metrics: &Metrics| (all(metrics) - calls.answered as f64).abs() < 0.5;
    let after = agent.scrape_until(PATIENCE, settled)?;
    let outcome = Outcome {
        stopped,
        answered: calls.answered,
        connections: calls.opened,
        counted: counted(&after),
        lost: ring_full(&after),
        memory: [memory, resident_mebibytes(agent.pid())?],
    };
    println!("{outcome}");
    ensure!(settled(&after), "counted and lost are {} of {} calls", all(&after), calls.answered);
    ensure!(outcome.lost > 0.5, "nothing was lost: the ring was not filled");
    ensure!((lost(&after) - outcome.lost).abs() < 0.5, "something else was lost too");
    ensure!(outcome.memory[1] - memory <= GROWTH_MIB, "its memory grew");
    ensure!(agent.stop()?.success(), "it does not stop cleanly");
    Ok(outcome)
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stopped, answered, connections, counted, lost, memory: [before, after] } = self;
        write!(
            formatter,
            "stopped for {stopped:?}: {answered} calls over {connections} connections; {counted} counted, {lost} lost; \
             {before:.1} MiB before, {after:.1} MiB after"
        )
    }
}
