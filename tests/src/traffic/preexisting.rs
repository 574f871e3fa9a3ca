//! Connections both ways that are opened, used and ended while an agent comes and goes; what happened under its eyes.
//! What was open when the agent started is marked as such in its metrics.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{client::Client, server::Server, sink, truth::Truth};
use crate::{
    agent::Agent,
    demo::{
        compare::Comparison,
        tally::{Reason, Tally},
    },
    docker::wait_until,
    metrics::Metrics,
};

/// How long what happened may take to reach the metrics.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// The target's connections. They are to be on loopback.
pub struct Connections {
    truth: Truth,
    /// Others' to the target. The first one carries the commands for the target's own.
    pub inbound: Vec<Client>,
    /// Names of the target's own.
    pub outbound: Vec<String>,
    server: SocketAddr,
    sink: SocketAddr,
    /// Sockets of a server that has no connection.
    idle_sockets: usize,
}

impl Connections {
    /// Opens `count` each way, before which `server` has none.
    pub async fn open(server: &Server, count: usize) -> Result<Self> {
        let truth = Truth::default();
        let port = sink::listen(Arc::clone(&truth.outbound)).await?;
        let sink = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let idle_sockets = server.sockets()?;
        let (inbound, outbound) = (Vec::new(), Vec::new());
        let server = server.address();
        let mut connections = Self { truth, inbound, outbound, server, sink, idle_sockets };
        connections.more(count).await?;
        Ok(connections)
    }

    /// Opens so many each way, and uses each once.
    pub async fn more(&mut self, count: usize) -> Result<()> {
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
    pub async fn use_half(&mut self) -> Result<()> {
        for (index, client) in self.inbound.iter_mut().enumerate().skip(1).step_by(2) {
            client.exchange(1000 + index, 50_000 + index).await?;
        }
        for (index, name) in self.outbound.iter().enumerate().step_by(2) {
            self.inbound[0].over(name, 3000 + index, 20_000 + index).await?;
        }
        Ok(())
    }

    /// Ends so many each way, in turn for every reason; those opened last go first.
    pub async fn end(&mut self, count: usize) -> Result<()> {
        for index in 0..count {
            let reason = Reason::ALL[index % Reason::ALL.len()];
            let name = self.outbound.pop().context("an outbound connection is open")?;
            self.inbound[0].end_dialed(&name, reason).await?;
            self.inbound.pop().context("an inbound connection is open")?.end(reason).await?;
        }
        Ok(())
    }

    /// Waits until both the target and the ends outside it are done with what they ended.
    pub fn settle(&self, server: &Server) -> Result<()> {
        wait_until("all ends are seen on both sides", || {
            let open = self.tallies().map(|tally| usize::try_from(tally.open).unwrap_or(usize::MAX));
            open == [self.inbound.len(), self.outbound.len()]
                && server.sockets().is_ok_and(|sockets| sockets == self.idle_sockets + open[0] + open[1])
        })
    }

    /// Connections to the target, and its own.
    pub fn tallies(&self) -> [Tally; 2] {
        [self.truth.inbound.tally(), self.truth.outbound.tally()]
    }

    /// What happened since then, beside what an agent tells that started then.
    pub fn compare_since(&self, then: &[Tally; 2], metrics: &Metrics) -> (Comparison, bool) {
        let [inbound, outbound] = self.tallies();
        let comparison = Comparison::new(&inbound.since(&then[0]), &outbound.since(&then[1]), metrics);
        let adopted = ["inbound", "outbound"].map(|direction| {
            metrics.get("chat_tcp_connections_preexisting_total", &[("direction", direction)])
        });
        let equal = comparison.equal() && adopted == [0, 1].map(|index| Some(then[index].open as f64));
        (comparison, equal)
    }

    /// Waits until the agent tells what happened since then.
    pub fn wait_equal(&self, then: &[Tally; 2], agent: &Agent) -> Result<()> {
        let metrics = agent.scrape_until(SETTLED_WITHIN, |metrics| self.compare_since(then, metrics).1)?;
        let (comparison, equal) = self.compare_since(then, &metrics);
        println!("{comparison}");
        ensure!(equal, "open at the start were {}, {}:\n{comparison}", then[0].open, then[1].open);
        Ok(())
    }
}
