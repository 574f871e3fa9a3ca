//! Connections that were open before the agent was: taken in, marked, and counted from then on.
//! The agent is killed in the middle of it and started again, and each one must tell what happened under its eyes.

#![expect(clippy::cast_possible_truncation, reason = "counts here are small whole numbers")]

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use tests::{
    agent::Agent,
    bpf::Held,
    cgroup::Cgroup,
    demo::tally::Reason,
    docker::wait_until,
    traffic::{preexisting::Connections, server::Server},
};
use tokio::runtime::Runtime;

/// Connections to the target, and as many of its own.
const EACH_WAY: usize = 25;

#[test]
fn what_was_open_before_is_counted_from_the_start_of_each_agent() -> Result<()> {
    let cgroup = Cgroup::create("observer-preexisting")?;
    let server = Server::start(&cgroup, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let runtime = Runtime::new()?;
    let mut connections = runtime.block_on(Connections::open(&server, EACH_WAY))?;
    connections.settle(&server)?;

    let first_start = connections.tallies();
    assert_eq!(first_start.each_ref().map(|tally| tally.open as usize), [EACH_WAY; 2]);
    let mut agent = Agent::start(["--target", &cgroup.selector()])?;
    connections.wait_equal(&first_start, &agent).context("nothing has happened yet")?;
    runtime.block_on(connections.use_half())?;
    connections.wait_equal(&first_start, &agent).context("half of them were used")?;
    runtime.block_on(connections.end(4))?;
    runtime.block_on(connections.more(6))?;
    connections.wait_equal(&first_start, &agent).context("some ended, others opened")?;

    let held = Held::by(agent.pid())?;
    assert!(held.programs.len() >= 3 && held.links.len() >= 3 && held.maps.len() >= 3, "{held:?}");
    agent.process().signal(Signal::KILL)?;
    drop(agent);
    wait_until("the kernel has freed what the killed agent had", || {
        held.remaining().is_ok_and(|left| left == Held::default())
    })?;
    // Nobody sees this.
    runtime.block_on(connections.use_half())?;
    runtime.block_on(connections.end(4))?;
    connections.settle(&server)?;

    let second_start = connections.tallies();
    let agent = Agent::start(["--target", &cgroup.selector()])?;
    connections.wait_equal(&second_start, &agent).context("the second agent has just started")?;
    runtime.block_on(connections.use_half())?;
    let all_but_control = connections.inbound.len() - 1;
    runtime.block_on(connections.end(all_but_control))?;
    let last = connections.outbound.pop().context("one is left")?;
    runtime.block_on(connections.inbound[0].end_dialed(&last, Reason::PeerClose))?;
    let control = connections.inbound.pop().context("one is left")?;
    runtime.block_on(control.end(Reason::LocalClose))?;
    connections.wait_equal(&second_start, &agent).context("all have ended")?;
    for tally in connections.tallies() {
        assert_eq!((tally.open, tally.closed.len()), (0, Reason::ALL.len()), "{tally:?}");
    }
    Ok(())
}
