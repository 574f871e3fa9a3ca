//! Another tool's programs on the cgroup of a target, before the agent and after it: both run, and either may go.
//! One that admits no other keeps its place, and the agent says so.

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::Agent,
    bpf,
    cgroup::Cgroup,
    metrics::Metrics,
    neighbour::{Neighbour, Seen, Way},
    process::{PATIENCE, wait_until},
    puppet::{self, Puppet},
};

/// The program of [`Puppet`].
const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

/// Payload bytes of each call, there and back.
const BYTES: usize = 100_000;

/// Calls in a row.
const CALLS: u32 = 20;

/// Programs of either on a cgroup.
const EACH: usize = 3;

fn start(cgroup: &Cgroup) -> Result<Agent> {
    Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])
}

/// A target that is called, and how often it was called under the agent that runs.
struct Called {
    address: std::net::SocketAddr,
    counted: u32,
}

impl Called {
    /// Calls, and each call must be counted once, from its opening to its end; nothing is lost.
    fn call(&mut self, agent: Option<&Agent>) -> Result<()> {
        for _ in 0..CALLS {
            puppet::call(self.address, BYTES)?;
        }
        let Some(agent) = agent else { return Ok(()) };
        self.counted += CALLS;
        let calls = f64::from(self.counted);
        let bytes = calls * BYTES as f64;
        let expected = [
            ("chat_tcp_connections_opened_total", calls),
            ("chat_tcp_connections_closed_total", calls),
            ("chat_tcp_connections", 0.0),
            ("chat_tcp_sent_bytes_total", bytes),
            ("chat_tcp_received_bytes_total", bytes),
            ("observer_records_lost_total", 0.0),
        ];
        let differs = |metrics: &Metrics| {
            expected.into_iter().find(|(name, value)| (metrics.sum(name, &[]) - value).abs() > 0.5)
        };
        let metrics = agent.scrape_until(PATIENCE, |metrics| differs(metrics).is_none())?;
        if let Some((name, value)) = differs(&metrics) {
            anyhow::bail!("{name} is {} and not {value}", metrics.sum(name, &[]));
        }
        Ok(())
    }

    /// Calls, which `neighbour` must see too, each connection and the round trips that it has asked to be told of.
    fn call_seen(&mut self, agent: Option<&Agent>, neighbour: &Neighbour) -> Result<()> {
        let before = neighbour.seen()?;
        self.call(agent)?;
        let Seen { packets_in, packets_out, connections, round_trips } = neighbour.seen()?;
        let all = u64::from(CALLS);
        ensure!(connections == before.connections + all, "{connections} connections seen, {before:?} before");
        let packets = [packets_in - before.packets_in, packets_out - before.packets_out];
        ensure!(packets.iter().all(|packets| *packets >= 3 * all), "{packets:?} packets seen");
        ensure!(round_trips >= before.round_trips + all, "{round_trips} round trips seen, {before:?} before");
        Ok(())
    }
}

#[test]
fn programs_of_others_run_beside_the_agent_s_and_either_may_go() -> Result<()> {
    for way in [Way::Link, Way::Multi] {
        for first in [true, false] {
            beside(way, first).with_context(|| format!("{way:?}, the other one first: {first}"))?;
        }
    }
    Ok(())
}

fn beside(way: Way, first: bool) -> Result<()> {
    let cgroup = Cgroup::create("neighbours")?;
    let mut puppet = Puppet::start(PUPPET, &cgroup)?;
    let mut called = Called { address: puppet.listen()?, counted: 0 };
    let before = if first { Some(Neighbour::attach(&cgroup, way)?) } else { None };
    let mut agent = start(&cgroup)?;
    called.call(Some(&agent))?;
    let neighbour = match before {
        Some(neighbour) => neighbour,
        None => Neighbour::attach(&cgroup, way)?,
    };
    ensure!(bpf::attached_to(cgroup.path())?.len() == 2 * EACH, "both are attached");
    called.call_seen(Some(&agent), &neighbour)?;
    let log = agent.process().output();
    ensure!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");

    // The agent goes, and comes again.
    agent.stop()?;
    ensure!(bpf::attached_to(cgroup.path())?.len() == EACH, "the other one is still attached");
    called.call_seen(None, &neighbour)?;
    let agent = start(&cgroup)?;
    called.counted = 0;
    called.call_seen(Some(&agent), &neighbour)?;

    // The other one goes.
    drop(neighbour);
    wait_until("it is detached", PATIENCE, || Ok(bpf::attached_to(cgroup.path())?.len() == EACH))?;
    called.call(Some(&agent))
}

/// Whether the agent says of one of its programs that it cannot be attached, and of none that it has a target.
fn is_refused(metrics: &Metrics) -> bool {
    let zero = metrics.matching("observer_program_attached", &[]).filter(|(_, value)| *value < 0.5);
    let admits = |reason: &str| reason.contains("admits no other");
    let said = zero.filter(|(series, _)| series.labels.get("reason").is_some_and(|it| admits(it))).count();
    let state = |state| metrics.get("observer_targets", &[("state", state)]);
    said == 1 && state("failed") == Some(1.0) && state("observed") == Some(0.0)
}

fn is_observed(metrics: &Metrics) -> bool {
    metrics.get("observer_targets", &[("state", "observed")]) == Some(1.0)
        && metrics.matching("observer_program_attached", &[("program", "socket_events")]).count() == 1
}

#[test]
fn a_program_that_admits_no_other_keeps_its_place_and_the_agent_says_so() -> Result<()> {
    for way in [Way::Override, Way::Alone] {
        for above in [true, false] {
            exclusive(way, above).with_context(|| format!("{way:?}, above the target: {above}"))?;
        }
    }
    Ok(())
}

fn exclusive(way: Way, above: bool) -> Result<()> {
    let parent = Cgroup::create("neighbours")?;
    let cgroup = parent.child("target")?;
    let mut puppet = Puppet::start(PUPPET, &cgroup)?;
    let mut called = Called { address: puppet.listen()?, counted: 0 };
    let neighbour = Neighbour::attach(if above { &parent } else { &cgroup }, way)?;
    called.call_seen(None, &neighbour)?;

    let mut agent = start(&cgroup)?;
    let metrics = agent.scrape()?;
    ensure!(
        is_refused(&metrics),
        "{:?}",
        metrics.matching("observer_program_attached", &[]).collect::<Vec<_>>()
    );
    let log = agent.process().output();
    let warned = |line: &&str| line.contains("WARN") && line.contains("admits no");
    ensure!(log.lines().filter(warned).count() == 1 && !log.contains("ERROR"), "{log}");
    // It runs as before.
    called.call_seen(None, &neighbour)?;

    // Gone, it leaves the place to the agent, which tries again.
    drop(neighbour);
    let metrics = agent.scrape_until(PATIENCE, is_observed)?;
    ensure!(is_observed(&metrics), "the target is not observed when its place is free");
    called.call(Some(&agent))?;
    ensure!(agent.stop()?.success(), "it does not stop cleanly");
    Ok(())
}
