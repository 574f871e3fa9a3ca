//! The agent with its defaults in a memory cgroup of 64 MiB: 1,000 targets, 15,000 connections, each with an exchange.
//! The kernel charges the connections' states to it too. It must not be killed; what it cannot follow must be counted.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::{self, Agent},
    bench::server::Server,
    memory_cgroup::MemoryCgroup,
    metrics::Metrics,
    process::{PATIENCE, raise_file_limit},
    sleeper::Inhabited,
};

const LIMIT: u64 = 64 << 20;
const TARGETS: usize = 1000;
const CONNECTIONS: u64 = 15_000;
/// Connections that are opened once the others have closed.
const LATER: u64 = 500;
/// Bytes of an answer of [`Server`]: its head and 200 bytes.
const ANSWER_BYTES: usize = 165 + 200;

/// Opens a connection and has one request answered on it.
fn connect(server: SocketAddr) -> Result<TcpStream> {
    let connection = TcpStream::connect(server).context("cannot connect")?;
    connection.set_read_timeout(Some(Duration::from_secs(20))).context("cannot set a time limit")?;
    exchange(&connection)?;
    Ok(connection)
}

fn exchange(mut connection: &TcpStream) -> Result<()> {
    connection.write_all(b"GET /limit HTTP/1.1\r\nHost: localhost\r\n\r\n").context("cannot ask")?;
    connection.read_exact(&mut [0; ANSWER_BYTES]).context("no answer")
}

fn requests(metrics: &Metrics) -> u64 {
    metrics.count("chat_http_requests_total", &[])
}

fn shed(metrics: &Metrics) -> u64 {
    metrics.count("observer_connections_given_up_total", &[("reason", "no_room")])
}

fn open(metrics: &Metrics) -> u64 {
    metrics.count("chat_tcp_connections", &[("direction", "inbound")])
}

#[test]
#[cfg_attr(not(memory_controller), ignore = "this host has no memory controller for cgroups")]
fn in_64_mib_connections_that_cannot_be_followed_are_counted_and_nothing_is_killed() -> Result<()> {
    let memory = MemoryCgroup::create(LIMIT)?.context("this host has a memory controller")?;
    raise_file_limit()?;
    let server = Server::start()?;
    let sleeping = (1..TARGETS).map(|_| Inhabited::create("observer-limit")).collect::<Result<Vec<_>>>()?;
    let cgroups = [server.cgroup()].into_iter().chain(sleeping.iter().map(Inhabited::cgroup));
    let mut arguments = vec!["--docker-socket".to_owned(), String::new()];
    arguments.extend(cgroups.flat_map(|cgroup| ["--target".to_owned(), cgroup.selector()]));
    let mut agent = Agent::start_by(memory.command(agent::binary()?), arguments)?;
    let report = |when: &str, metrics: &Metrics| -> Result<()> {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{when}: {:.1} MiB charged, {:.1} at most; {} requests counted, {} connections not followed",
            mebibytes(memory.usage()?),
            mebibytes(memory.peak().unwrap_or_default()),
            requests(metrics),
            shed(metrics)
        );
        Ok(())
    };
    let metrics = agent.scrape()?;
    assert_eq!(metrics.get("observer_targets", &[("state", "observed")]), Some(TARGETS as f64));
    report("1,000 targets", &metrics)?;

    let connections =
        (0..CONNECTIONS).map(|_| connect(server.address())).collect::<Result<Vec<TcpStream>>>()?;
    let metrics = agent.scrape_until(PATIENCE, |metrics| requests(metrics) + shed(metrics) >= CONNECTIONS)?;
    report("15,000 connections", &metrics)?;
    assert_eq!(open(&metrics), CONNECTIONS, "every connection is counted");
    let (followed, not_followed) = (requests(&metrics), shed(&metrics));
    assert_eq!(followed + not_followed, CONNECTIONS, "each is followed or in the counter, once");
    ensure!(followed > 0 && not_followed > 0, "{followed} followed, {not_followed} not");

    for connection in &connections {
        exchange(connection)?;
    }
    let metrics = agent.scrape_until(PATIENCE, |metrics| requests(metrics) >= 2 * followed)?;
    assert_eq!((requests(&metrics), shed(&metrics)), (2 * followed, not_followed), "a second exchange each");

    drop(connections);
    agent.scrape_until(PATIENCE, |metrics| open(metrics) == 0)?;
    let later = (0..LATER).map(|_| connect(server.address())).collect::<Result<Vec<TcpStream>>>()?;
    let expected = 2 * followed + LATER;
    let metrics = agent.scrape_until(PATIENCE, |metrics| requests(metrics) >= expected)?;
    report("after they closed", &metrics)?;
    assert_eq!((requests(&metrics), shed(&metrics)), (expected, not_followed), "there is room again");
    drop(later);

    assert_eq!(memory.oom_kills()?, 0, "killed by the OOM killer");
    ensure!(agent.process().exited()?.is_none(), "the agent has ended");
    // Before its cgroup, which can only be removed when it is empty.
    agent.stop()?;
    Ok(())
}
