//! A full ring and a full map: both show in `observer_records_lost_total`, and the counts of connections stay exact.
//! The ring is filled while the agent is stopped, the map by calling more peers than it has room for.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    metrics::Metrics,
    process::PATIENCE,
    puppet::{self, Puppet},
};

/// The program of [`Puppet`].
const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

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
