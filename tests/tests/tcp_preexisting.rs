//! Connections that were open before the agent was: taken in, marked, and counted from then on.
//! The agent is killed in the middle of it and started again, and each one must tell what happened under its eyes.

#![expect(clippy::cast_possible_truncation, reason = "counts here are small whole numbers")]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tests::{
    agent::Agent,
    bpf::Held,
    cgroup::Cgroup,
    demo::{
        compare::Comparison,
        tally::{Reason, Tally},
    },
    docker::wait_until,
    metrics::Metrics,
    traffic::{client::Client, server::Server, sink, truth::Truth},
};
use tokio::runtime::Runtime;

/// Connections to the target, and as many of its own.
const EACH_WAY: usize = 25;
/// How long what happened may take to reach the metrics.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// The target's connections.
struct Connections {
    truth: Truth,
    /// Others' to the target. The first one carries the commands for the target's own.
    inbound: Vec<Client>,
    /// Names of the target's own.
    outbound: Vec<String>,
    server: SocketAddr,
    sink: SocketAddr,
}

impl Connections {
    async fn open(server: SocketAddr) -> Result<Self> {
        let truth = Truth::default();
        let port = sink::listen(Arc::clone(&truth.outbound)).await?;
        let sink = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut connections = Self { truth, inbound: Vec::new(), outbound: Vec::new(), server, sink };
        connections.more(EACH_WAY).await?;
        Ok(connections)
    }

    /// Opens so many each way, and uses each once.
    async fn more(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let mut client = Client::open(self.server, &self.truth.inbound).await?;
            client.exchange(100, 200).await?;
            self.inbound.push(client);
        }
        for _ in 0..count {
            let name = format!("call-{}", self.truth.outbound.tally().opened);
            let answer = self.inbound[0].dial(&name, self.sink, None).await?;
            ensure!(answer == "open", "the target cannot connect: {answer}");
            self.inbound[0].over(&name, 300, 400).await?;
            self.outbound.push(name);
        }
        Ok(())
    }

    /// Sends something over every other connection; the rest stay idle.
    async fn use_half(&mut self) -> Result<()> {
        for (index, client) in self.inbound.iter_mut().enumerate().skip(1).step_by(2) {
            client.exchange(1000 + index, 50_000 + index).await?;
        }
        for (index, name) in self.outbound.iter().enumerate().step_by(2) {
            self.inbound[0].over(name, 3000 + index, 20_000 + index).await?;
        }
        Ok(())
    }

    /// Ends so many each way, in turn for every reason; those opened last go first.
    async fn end(&mut self, count: usize) -> Result<()> {
        for index in 0..count {
            let reason = Reason::ALL[index % Reason::ALL.len()];
            let name = self.outbound.pop().context("an outbound connection is open")?;
            self.inbound[0].end_dialed(&name, reason).await?;
            self.inbound.pop().context("an inbound connection is open")?.end(reason).await?;
        }
        Ok(())
    }

    /// Waits until both the target and the ends outside it are done with what they ended.
    fn settle(&self, server: &Server) -> Result<()> {
        wait_until("all ends are seen on both sides", || {
            let open = self.tallies().map(|tally| tally.open as usize);
            open == [self.inbound.len(), self.outbound.len()]
                && server.sockets().is_ok_and(|sockets| sockets == 1 + open[0] + open[1])
        })
    }

    fn tallies(&self) -> [Tally; 2] {
        [self.truth.inbound.tally(), self.truth.outbound.tally()]
    }

    /// What happened since then, beside what an agent tells that started then.
    fn compare_since(&self, then: &[Tally; 2], metrics: &Metrics) -> (Comparison, bool) {
        let [inbound, outbound] = self.tallies();
        let comparison = Comparison::new(&inbound.since(&then[0]), &outbound.since(&then[1]), metrics);
        let adopted = ["inbound", "outbound"].map(|direction| {
            metrics.get("chat_tcp_connections_preexisting_total", &[("direction", direction)])
        });
        let equal = comparison.equal() && adopted == [0, 1].map(|index| Some(then[index].open as f64));
        (comparison, equal)
    }

    fn wait_equal(&self, then: &[Tally; 2], agent: &Agent) -> Result<()> {
        let metrics = agent.scrape_until(SETTLED_WITHIN, |metrics| self.compare_since(then, metrics).1)?;
        let (comparison, equal) = self.compare_since(then, &metrics);
        println!("{comparison}");
        ensure!(equal, "open at the start were {}, {}:\n{comparison}", then[0].open, then[1].open);
        Ok(())
    }
}

#[test]
fn what_was_open_before_is_counted_from_the_start_of_each_agent() -> Result<()> {
    let cgroup = Cgroup::create("observer-preexisting")?;
    let server = Server::start(&cgroup, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let runtime = Runtime::new()?;
    let mut connections = runtime.block_on(Connections::open(server.address()))?;
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
