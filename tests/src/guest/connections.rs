//! Connections both ways, with every way to end: opened, closed by reason, open now and bytes as the client has them.
//! Those that are older than the agent too. Without the program `socket_state` their ends are not seen, as documented.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::runtime::Runtime;

use super::{observe, programs::attached};
use crate::{
    agent::Agent,
    cgroup::Cgroup,
    demo::tally::Tally,
    process::own_program,
    traffic::{
        preexisting::Connections,
        random::{self, Load},
        server::Server,
        sink,
        truth::Truth,
    },
};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Connections each way that are open before the agent, and that open after it: each way to end twice.
const EACH_WAY: usize = 8;

/// The program that sees the ends of connections that are older than the agent.
const SEES_OLD_ENDS: &str = "socket_state";

/// Plays both; says what was seen.
pub fn test() -> Result<String> {
    let random = mixed()?;
    let old = adopted(observe)?;
    Ok(format!("{random}; {old}"))
}

fn target(cgroup: &Cgroup) -> Result<Server> {
    let mut command = cgroup.command(own_program("guest")?);
    command.arg("obey");
    Server::start_by(command, LOCALHOST)
}

/// New connections under a random load, some of which the target cannot make.
fn mixed() -> Result<String> {
    let cgroup = Cgroup::create("connections")?;
    let server = target(&cgroup)?;
    let agent = observe(&cgroup)?;
    let runtime = Runtime::new()?;
    let truth = Arc::new(Truth::default());
    let port = runtime.block_on(sink::listen(Arc::clone(&truth.outbound)))?;
    let nobody =
        std::net::TcpListener::bind((LOCALHOST, 0)).context("cannot reserve a port")?.local_addr()?;
    let load = Load {
        servers: vec![server.address()],
        sinks: vec![SocketAddr::new(LOCALHOST, port)],
        // Its listener is gone again.
        refused: vec![nobody],
        silent: Vec::new(),
        absent: Vec::new(),
        connections: 8,
        held: 2,
        lasting: Duration::from_secs(5),
        seed: 3,
    };
    let held = runtime.block_on(random::run(load, Arc::clone(&truth)))?;
    let container = cgroup.path().file_name().context("a cgroup has a name")?.to_string_lossy().into_owned();
    truth.wait_equal(&agent, &container)?;
    let tallies = [truth.inbound.tally(), truth.outbound.tally()];
    ensure!(tallies.iter().all(|tally| tally.closed.len() == 4), "not every end occurred: {tallies:?}");
    drop(held);
    agent.stop()?;
    Ok(format!("{} connections in and {} out", tallies[0].opened, tallies[1].opened))
}

/// Connections of which some are older than the agent that `start` starts.
pub(super) fn adopted(start: impl FnOnce(&Cgroup) -> Result<Agent>) -> Result<String> {
    let cgroup = Cgroup::create("adopted")?;
    let server = target(&cgroup)?;
    let runtime = Runtime::new()?;
    let mut connections = runtime.block_on(Connections::open(&server, EACH_WAY))?;
    connections.settle(&server)?;
    let then = connections.tallies();
    let agent = start(&cgroup)?;
    connections.wait_equal(&then, &agent).context("nothing has happened yet")?;
    runtime.block_on(connections.use_half())?;
    connections.wait_equal(&then, &agent).context("half of them were used")?;
    // These end first: they opened last.
    runtime.block_on(connections.more(EACH_WAY))?;
    runtime.block_on(connections.end(EACH_WAY))?;
    connections.wait_equal(&then, &agent).context("new ones opened and ended")?;

    let before_ends = connections.tallies();
    runtime.block_on(connections.end(EACH_WAY / 2))?;
    connections.settle(&server)?;
    if attached(&agent.scrape()?, SEES_OLD_ENDS) == Some(true) {
        connections.wait_equal(&then, &agent).context("old ones ended")?;
        agent.stop()?;
        return Ok(format!("{EACH_WAY} each way older than the agent, with their ends"));
    }
    ends_unseen(&connections, &before_ends, &agent)?;
    agent.stop()?;
    Ok(format!("{EACH_WAY} each way older than the agent, without their ends"))
}

/// Where [`SEES_OLD_ENDS`] is refused: no end of an old connection is counted, and none is counted as something else.
fn ends_unseen(connections: &Connections, before: &[Tally; 2], agent: &Agent) -> Result<()> {
    let metrics = agent.scrape()?;
    for (direction, (before, after)) in
        ["inbound", "outbound"].into_iter().zip(before.iter().zip(connections.tallies()))
    {
        let labels = [("direction", direction)];
        let closed = metrics.sum("chat_tcp_connections_closed_total", &labels);
        let known = |tally: &Tally| tally.closed.values().sum::<u64>() as f64;
        ensure!(known(before) < known(&after), "nothing ended");
        ensure!((closed - known(before)).abs() < 0.5, "{direction}: {closed} ends are counted, {before:?}");
    }
    Ok(())
}
