//! Full rings and full maps: all show in `observer_records_lost_total`, and the counts of connections stay exact.
//! A ring is filled while the agent is stopped, a map by calling more peers than it has room for.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    faults::{
        application::{Application, Priority},
        calls::{Caller, Calls, Manner},
    },
    metrics::Metrics,
    process::PATIENCE,
    puppet::{self, Puppet},
};

/// The program of [`Puppet`].
const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

/// The program of [`Caller`].
const FAULTS: &str = env!("CARGO_BIN_EXE_faults");

/// Payload bytes of each call, there and back.
const BYTES: usize = 1000;

/// An agent with the smallest possible bounds; the folder holds its configuration.
fn start(limits: &str, selectors: &[&str]) -> Result<(Agent, TempDir)> {
    let folder = TempDir::new()?;
    let file = folder.path().join("observer.toml");
    let rest = "[targets]\nrescan = \"500ms\"\n[docker]\nsocket = \"\"\n";
    fs::write(&file, format!("[limits]\n{limits}\n{rest}"))?;
    let mut arguments = vec!["--config".to_owned(), file.display().to_string()];
    for selector in selectors {
        arguments.extend(["--target".to_owned(), (*selector).to_owned()]);
    }
    Ok((Agent::start(arguments)?, folder))
}

/// What must be counted of calls in one direction.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    open: u64,
    opened: u64,
    closed: u64,
    sent: u64,
    received: u64,
}

impl Counts {
    fn of_calls(calls: u64) -> Self {
        let bytes = calls * BYTES as u64;
        Self { open: 0, opened: calls, closed: calls, sent: bytes, received: bytes }
    }

    fn of(metrics: &Metrics, container: &str, direction: &str) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts of a few thousand"
        )]
        let sum = |name: &str| {
            metrics.sum(&format!("chat_tcp_{name}"), &[("container", container), ("direction", direction)])
                as u64
        };
        Self {
            open: sum("connections"),
            opened: sum("connections_opened_total"),
            closed: sum("connections_closed_total"),
            sent: sum("sent_bytes_total"),
            received: sum("received_bytes_total"),
        }
    }
}

/// Waits until exactly this is counted.
fn expect(agent: &Agent, cgroup: &Cgroup, direction: &str, expected: &Counts) -> Result<()> {
    let name = cgroup.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let metrics =
        agent.scrape_until(PATIENCE, |metrics| Counts::of(metrics, &name, direction) == *expected)?;
    let counted = Counts::of(&metrics, &name, direction);
    ensure!(counted == *expected, "{name}, {direction}: {counted:?} and not {expected:?}");
    Ok(())
}

fn lost(agent: &Agent, kind: &str, reason: &str) -> Result<f64> {
    Ok(agent.scrape()?.sum("observer_records_lost_total", &[("kind", kind), ("reason", reason)]))
}

#[test]
fn a_full_ring_is_counted_and_the_counts_of_connections_stay_exact() -> Result<()> {
    let cgroup = Cgroup::create("losses")?;
    let elsewhere = Cgroup::create("elsewhere")?;
    let mut puppet = Puppet::start(PUPPET, &cgroup)?;
    let inside = puppet.listen()?;
    let outside = puppet::echo(Ipv4Addr::LOCALHOST.into())?;
    let late = format!("late-{}.scope", std::process::id());
    let (mut agent, _folder) = start("ring_bytes = 4096", &[&cgroup.selector(), &format!("unit:{late}")])?;
    ensure!(lost(&agent, "cgroup", "ring_full")? < 1.0, "something was lost before");

    agent.process().signal(Signal::STOP)?;
    for number in 0..300 {
        let path = elsewhere.path().join(format!("group-{number}"));
        fs::create_dir(&path)?;
        fs::remove_dir(&path)?;
        if number % 3 == 0 {
            puppet::call(inside, BYTES)?;
            puppet.call(outside, BYTES)?;
        }
    }
    let late = Cgroup::named(late)?;
    let mut in_late = Puppet::start(PUPPET, &late)?;
    let late_address = in_late.listen()?;
    agent.process().signal(Signal::CONT)?;

    expect(&agent, &cgroup, "inbound", &Counts::of_calls(100))?;
    expect(&agent, &cgroup, "outbound", &Counts::of_calls(100))?;
    // 600 records and more, of which the ring holds fewer than ten.
    ensure!(lost(&agent, "cgroup", "ring_full")? >= 590.0, "{}", lost(&agent, "cgroup", "ring_full")?);
    let found = |metrics: &Metrics| metrics.get("observer_targets", &[("state", "observed")]) == Some(2.0);
    ensure!(found(&agent.scrape_until(PATIENCE, found)?), "the target that came meanwhile is not found");
    puppet::call(late_address, BYTES)?;
    expect(&agent, &late, "inbound", &Counts::of_calls(1))
}

#[test]
fn a_full_map_is_counted_and_the_counts_of_connections_stay_exact() -> Result<()> {
    let cgroup = Cgroup::create("losses")?;
    let other = Cgroup::create("losses")?;
    let mut puppet = Puppet::start(PUPPET, &cgroup)?;
    let mut in_other = Puppet::start(PUPPET, &other)?;
    let (inside, in_other_address) = (puppet.listen()?, in_other.listen()?);
    let outside = (2..22)
        .map(|last| puppet::echo(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))))
        .collect::<Result<Vec<_>>>()?;
    let (agent, _folder) = start("peers = 4", &[&cgroup.selector(), &other.selector()])?;

    // Held open, so that no peer's place can be given to another.
    for address in &outside {
        puppet.hold(*address)?;
    }
    let mut open = Counts::of_calls(0);
    (open.open, open.opened) = (20, 20);
    expect(&agent, &cgroup, "outbound", &open)?;
    ensure!(lost(&agent, "peer", "map_full")? >= 1.0, "nothing was lost");

    // The map is full now: for the target's other direction, and for a target that has no place in it yet.
    for address in &outside {
        puppet.call(*address, BYTES)?;
        in_other.call(*address, BYTES)?;
        puppet::call(inside, BYTES)?;
        puppet::call(in_other_address, BYTES)?;
    }
    puppet.release()?;
    let mut outbound = Counts::of_calls(20);
    (outbound.opened, outbound.closed) = (40, 40);
    expect(&agent, &cgroup, "outbound", &outbound)?;
    expect(&agent, &cgroup, "inbound", &Counts::of_calls(20))?;
    expect(&agent, &other, "outbound", &Counts::of_calls(20))?;
    expect(&agent, &other, "inbound", &Counts::of_calls(20))
}

#[test]
fn with_every_size_at_its_least_what_is_lost_is_counted_and_connections_stay_exact() -> Result<()> {
    let cgroup = Cgroup::create("losses")?;
    let applications = [
        Application::start(&cgroup, Priority::Usual)?,
        // A second Node.js, for which there is no place.
        Application::start(&cgroup, Priority::Usual)?,
    ];
    let mut puppet = Puppet::start(PUPPET, &cgroup)?;
    let least = "ring_bytes = 4096\nexchange_ring_bytes = 4096\npeers = 1\nnodejs_processes = 1\n\
        process_roles = 1\nroutes = 1";
    let (mut agent, _folder) = start(least, &[&cgroup.selector()])?;
    let mut all = Calls::default();
    for application in &applications {
        let manner = Manner { server: application.address(), connections: 8, renewed_after: 20, every: 0 };
        let caller = Caller::start(Path::new(FAULTS), manner, Priority::Usual)?;
        thread::sleep(Duration::from_secs(2));
        let calls = caller.end()?;
        calls.require_no_failure()?;
        all.add(calls);
    }
    for last in 2..6 {
        let address = puppet::echo(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))?;
        puppet.call(address, BYTES)?;
    }
    agent.process().signal(Signal::STOP)?;
    for number in 0..50 {
        let path = cgroup.path().join(format!("group-{number}"));
        fs::create_dir(&path)?;
        fs::remove_dir(&path)?;
    }
    agent.process().signal(Signal::CONT)?;

    expect(&agent, &cgroup, "outbound", &Counts::of_calls(4))?;
    let metrics = agent.scrape_until(PATIENCE, |metrics| counted_or_lost(metrics) >= all.answered as f64)?;
    let name = cgroup.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let inbound = Counts::of(&metrics, &name, "inbound");
    ensure!((inbound.open, inbound.opened, inbound.closed) == (0, all.opened, all.closed), "{inbound:?}");
    let sum = counted_or_lost(&metrics);
    ensure!((sum - all.answered as f64).abs() < 0.5, "{sum} counted or lost of {} calls", all.answered);
    for (kind, reason) in
        [("exchange", "ring_full"), ("peer", "map_full"), ("runtime", "map_full"), ("cgroup", "ring_full")]
    {
        ensure!(lost(&agent, kind, reason)? >= 1.0, "no {kind} was lost by {reason}");
    }
    let mended = metrics.sum("observer_targets", &[("state", "observed")]);
    ensure!((mended - 1.0).abs() < 0.5, "{mended} targets are observed");
    ensure!(agent.stop()?.success(), "it does not stop cleanly");
    Ok(())
}

/// HTTP requests that are in the counts or are said to be missing in them.
fn counted_or_lost(metrics: &Metrics) -> f64 {
    metrics.sum("chat_http_requests_total", &[])
        + metrics.sum("observer_records_lost_total", &[("kind", "exchange")])
}
