//! Ten thousand connections and a thousand targets: every count is exact, and nothing is loaded twice.
//! Memory and times are printed; judging them is the benchmark's.

#![expect(clippy::cast_possible_truncation, reason = "counts here are small whole numbers")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::{
    agent::Agent,
    bpf::Held,
    cgroup::Cgroup,
    demo::tally::Reason,
    http,
    metrics::Metrics,
    traffic::{client::Client, server::Server, truth::Truth},
};
use tokio::{runtime::Runtime, task::JoinSet};

const CONNECTIONS: usize = 10_000;
/// Tasks that open them, each one after the other.
const WORKERS: usize = 100;
const TARGETS: usize = 1000;
/// cgroup links per target: `sock_ops`, ingress, egress.
const LINKS: usize = 3;

/// Raises the number of files that this process, and what it starts, may have open to the hard limit.
fn raise_open_files(wanted: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    ensure!(limit.maximum.is_none_or(|most| most >= wanted), "{wanted} open files are needed: {limit:?}");
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).context("cannot raise the limit")
}

/// Resident memory of a process: now, and at most, as /proc/PID/status has them.
fn memory(pid: u32) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let lines: Vec<&str> =
        status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM")).collect();
    Ok(lines.join(", ").replace(char::is_whitespace, " "))
}

async fn open_many(server: SocketAddr, truth: Arc<Truth>) -> Result<Vec<Client>> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let truth = Arc::clone(&truth);
        // Several addresses of loopback, so that others' use of ephemeral ports does not matter.
        let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1 + (worker % 4) as u8), server.port()));
        workers.spawn(async move {
            let mut clients = Vec::new();
            for number in 0..CONNECTIONS / WORKERS {
                let mut client = Client::open(address, &truth.inbound).await?;
                client.exchange(worker, number * 10).await?;
                clients.push(client);
            }
            anyhow::Ok(clients)
        });
    }
    let mut all = Vec::new();
    while let Some(opened) = workers.join_next().await {
        all.extend(opened.context("a client panicked")??);
    }
    Ok(all)
}

#[test]
fn ten_thousand_open_connections_are_counted_exactly() -> Result<()> {
    raise_open_files(CONNECTIONS as u64 + 1000)?;
    let cgroup = Cgroup::create("observer-scale")?;
    let server = Server::start(&cgroup, IpAddr::V4(Ipv4Addr::UNSPECIFIED))?;
    let agent = Agent::start(["--target", &cgroup.selector()])?;
    let name = cgroup.path().file_name().context("a name")?.to_string_lossy().into_owned();
    println!("before: {}", memory(agent.pid())?);
    let runtime = Runtime::new()?;
    let truth = Arc::new(Truth::default());
    let mut clients = runtime.block_on(open_many(server.address(), Arc::clone(&truth)))?;
    let metrics = truth.wait_equal(&agent, &name)?;
    let inbound = [("direction", "inbound")];
    assert_eq!(metrics.get("chat_tcp_connections", &inbound), Some(CONNECTIONS as f64));
    for client in clients.iter_mut().step_by(10) {
        runtime.block_on(client.exchange(10, 20))?;
    }
    truth.wait_equal(&agent, &name).context("bytes of open connections")?;
    let begun = Instant::now();
    http::get(agent.address(), "/metrics")?;
    println!("with {CONNECTIONS} open: scrape in {:?}, {}", begun.elapsed(), memory(agent.pid())?);
    for (index, client) in clients.into_iter().enumerate() {
        let reason = if index % 2 == 0 { Reason::PeerClose } else { Reason::PeerReset };
        runtime.block_on(client.end(reason))?;
    }
    let metrics = truth.wait_equal(&agent, &name)?;
    assert_eq!(metrics.get("chat_tcp_connections", &inbound), Some(0.0));
    Ok(())
}

#[test]
fn a_thousand_targets_load_nothing_again() -> Result<()> {
    let parent = Cgroup::create("observer-targets")?;
    let cgroups: Vec<Cgroup> =
        (0..TARGETS).map(|number| parent.child(&format!("target-{number}"))).collect::<Result<_>>()?;
    let one = Agent::start(["--target", &cgroups[0].selector()])?;
    let of_one = Held::by(one.pid())?;
    drop(one);

    let selectors: Vec<String> = cgroups.iter().map(Cgroup::selector).collect();
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("observer.toml");
    fs::write(&config, format!("[targets]\nselect = {selectors:?}\n[docker]\nsocket = \"\"\n"))?;
    let begun = Instant::now();
    let agent = Agent::start([std::ffi::OsStr::new("--config"), config.as_os_str()])?;
    println!("{TARGETS} targets: ready after {:?}, {}", begun.elapsed(), memory(agent.pid())?);
    let held = Held::by(agent.pid())?;
    assert_eq!(held.programs.len(), of_one.programs.len(), "programs");
    assert_eq!(held.maps.len(), of_one.maps.len(), "maps");
    assert_eq!(held.links.len(), of_one.links.len() + LINKS * (TARGETS - 1), "links");
    let metrics = agent.scrape()?;
    for (state, count) in [("observed", TARGETS), ("waiting", 0), ("failed", 0)] {
        assert_eq!(metrics.get("observer_targets", &[("state", state)]), Some(count as f64), "{state}");
    }

    let server = Server::start(&cgroups[777], IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let truth = Truth::default();
    let runtime = Runtime::new()?;
    let client = runtime.block_on(async {
        let mut client = Client::open(server.address(), &truth.inbound).await?;
        client.exchange(1234, 56_789).await?;
        anyhow::Ok(client)
    })?;
    truth.wait_equal(&agent, "target-777")?;
    let begun = Instant::now();
    let answer = http::get(agent.address(), "/metrics")?;
    println!("scrape in {:?}, {}", begun.elapsed(), memory(agent.pid())?);
    let metrics = Metrics::parse(&answer.text())?;
    assert!(
        (metrics.sum("chat_tcp_connections_opened_total", &[]) - 1.0).abs() < 0.5,
        "no other target has any"
    );
    drop(client);
    Ok(())
}
