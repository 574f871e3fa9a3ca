//! Memory and scrape time of the agent while its target holds 10,000 open connections.
//! The connections are idle: what is measured is what it takes to know of them.

use std::{net::TcpStream, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::{
    Setup,
    figure::{Budget, Figure, Measured},
    server::Server,
    usage,
};
use crate::agent::Agent;

/// How many connections are open.
const CONNECTIONS: u32 = 10_000;

/// Files that this process has open besides.
const OTHER_FILES: u64 = 100;

/// How long the server may take to accept the last connection.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// Runs, each with an agent of its own.
const RUNS: usize = 3;

/// What this file measures.
pub(super) static FIGURES: [Figure; 2] = [
    Figure {
        name: "connections_memory",
        unit: "MiB",
        budget: Some(Budget::AtMost(30.0)),
        about: "Resident memory of the agent after scrapes, at 10,000 open connections.",
    },
    Figure {
        name: "connections_scrape",
        unit: "ms",
        budget: Some(Budget::AtMost(20.0)),
        about: "A scrape at 10,000 open connections.",
    },
];

/// Measures all figures of this file.
pub(super) fn measure(setup: &Setup) -> Result<Vec<Measured>> {
    allow_files()?;
    let server = Server::start()?;
    let (mut memory, mut scrape) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        setup.go_on()?;
        let mut agent = Agent::start(["--docker-socket", "", "--target", &server.cgroup().selector()])?;
        let _connections = open(&server)?;
        let expected = f64::from(CONNECTIONS);
        let count = |metrics: &crate::metrics::Metrics| {
            metrics.sum("chat_tcp_connections", &[("direction", "inbound")])
        };
        let metrics = agent.scrape_until(OPEN_WITHIN, |metrics| count(metrics) >= expected)?;
        if (count(&metrics) - expected).abs() > f64::EPSILON {
            bail!("{CONNECTIONS} connections are open, and the observer counts {}", count(&metrics));
        }
        scrape.push(usage::scrape_milliseconds(&agent)?);
        memory.push(usage::resident_mebibytes(agent.process().pid())?);
    }
    let [connections_memory, connections_scrape] = &FIGURES;
    Ok(vec![connections_memory.measured(memory), connections_scrape.measured(scrape)])
}

fn open(server: &Server) -> Result<Vec<TcpStream>> {
    let connect = |number| {
        TcpStream::connect(server.address()).with_context(|| format!("cannot open connection {number}"))
    };
    (1..=CONNECTIONS).map(connect).collect()
}

/// Raises the limit of open files as far as needed.
fn allow_files() -> Result<()> {
    let needed = u64::from(CONNECTIONS) + OTHER_FILES;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    limit.current = Some(needed);
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        bail!(
            "{CONNECTIONS} connections need {needed} open files; raise the limit with `ulimit -Hn {needed}`"
        );
    }
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}
