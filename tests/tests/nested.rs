//! Targets inside one another: a process in any descendant of a target's cgroup is the target's, unless a target
//! further inside has it. Every connection counts once, whoever attached first.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts here are small whole numbers"
)]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    demo::tally::Reason,
    metrics::Metrics,
    traffic::{
        client::Client,
        random::{self, Load},
        server::Server,
        sink,
        truth::Truth,
    },
};
use tokio::runtime::Runtime;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// `tcpmux`, on which nobody listens.
const CLOSED_PORT: u16 = 1;
/// Connections that stay open per target.
const HELD: usize = 6;

fn play(runtime: &Runtime, servers: &[&Server], truth: &Arc<Truth>, seed: u64) -> Result<Vec<Client>> {
    let port = runtime.block_on(sink::listen(Arc::clone(&truth.outbound)))?;
    let load = Load {
        servers: servers.iter().map(|server| server.address()).collect(),
        sinks: vec![SocketAddr::new(LOCALHOST, port)],
        refused: vec![SocketAddr::new(LOCALHOST, CLOSED_PORT)],
        silent: Vec::new(),
        absent: Vec::new(),
        connections: 20,
        held: HELD,
        lasting: Duration::from_secs(2),
        seed,
    };
    runtime.block_on(random::run(load, Arc::clone(truth)))
}

#[test]
fn every_connection_belongs_to_the_innermost_target() -> Result<()> {
    let outer = Cgroup::create("observer-outer")?;
    let between = outer.child("between")?;
    let inner = between.child(&format!("observer-inner-{}", std::process::id()))?;
    let deepest = inner.child("deepest")?;
    let name = |cgroup: &Cgroup| cgroup.path().file_name().map(|name| name.to_string_lossy().into_owned());
    let names = [name(&outer).context("a name")?, name(&inner).context("a name")?];
    let [own, descendant, nested, nested_descendant] =
        [&outer, &between, &inner, &deepest].map(|cgroup| Server::start(cgroup, LOCALHOST));
    let (own, descendant, nested, nested_descendant) = (own?, descendant?, nested?, nested_descendant?);
    let arguments = ["--target", &outer.selector(), "--target", &inner.selector()].map(str::to_owned);
    let agent = Agent::start(&arguments)?;

    let runtime = Runtime::new()?;
    let truths = [Arc::new(Truth::default()), Arc::new(Truth::default())];
    let held = [
        play(&runtime, &[&own, &descendant], &truths[0], 1)?,
        play(&runtime, &[&nested, &nested_descendant], &truths[1], 2)?,
    ];
    for (truth, name) in truths.iter().zip(&names) {
        truth.wait_equal(&agent, name)?;
    }
    let metrics = agent.scrape()?;
    assert_eq!(metrics.get("observer_targets", &[("state", "observed")]), Some(2.0));
    assert_eq!(metrics.get("observer_targets", &[("state", "failed")]), Some(0.0));
    drop(agent);

    // Another agent finds the open ones, and gives them to the same targets.
    let agent = Agent::start(&arguments)?;
    let inbound = |metrics: &Metrics, metric: &str, name: &str| {
        metrics.sum(metric, &[("container", name), ("direction", "inbound")]) as usize
    };
    let preexisting = agent.scrape()?;
    for name in &names {
        assert_eq!(inbound(&preexisting, "chat_tcp_connections_preexisting_total", name), HELD, "{name}");
        assert_eq!(inbound(&preexisting, "chat_tcp_connections", name), HELD, "{name}");
    }
    for client in held.into_iter().flatten() {
        runtime.block_on(client.end(Reason::LocalClose))?;
    }
    let closed = |metrics: &Metrics| {
        names.each_ref().map(|name| inbound(metrics, "chat_tcp_connections_closed_total", name))
    };
    let after = agent.scrape_until(Duration::from_secs(10), |metrics| closed(metrics) == [HELD; 2])?;
    assert_eq!(closed(&after), [HELD; 2]);
    Ok(())
}
