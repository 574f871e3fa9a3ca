//! All TCP of a Node.js server in a real Docker container, under random traffic of which every end is known.
//! The agent runs first: what it tells of a container must be everything from its first packet on.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::Agent,
    bpf::Held,
    demo::tally::Reason,
    docker::{Daemon, GATEWAY, GATEWAY_6, wait_until},
    metrics::Metrics,
    namespace::Namespace,
    traffic::{
        client::Client,
        random::{self, Load},
        sink,
        truth::Truth,
    },
};
use tokio::runtime::Runtime;

const IMAGE: &str = "acme/chat:2.4.1";
/// Where the server in a container listens.
const PORT: u16 = 8000;
/// A port of the gateway on which nobody listens.
const CLOSED_PORT: u16 = 9;
/// A port of the gateway that answers nothing.
const SILENT_PORT: u16 = 10;
/// An address of the bridge's network that no container has.
const NOBODY: &str = "172.17.250.250";
const NOBODY_6: &str = "fd00:6f62::ffff";
/// The bridge to which Docker connects containers, each by a veth.
const BRIDGE: &str = "docker0";
/// The container that is started twice.
const AGAIN: &str = "chat-again";
/// The share of packets that is lost each way where loss is tried.
const LOSS: f64 = 0.05;
/// cgroup links per container: `sock_ops`, ingress, egress.
const LINKS: usize = 3;

/// What all scenarios share: one Docker, one agent, and a runtime at the other end of the containers' network.
struct Bed {
    agent: Agent,
    runtime: Runtime,
    network: Namespace,
    daemon: Daemon,
}

/// A container under observation, and what is known of its connections.
struct Container<'a> {
    bed: &'a Bed,
    name: &'static str,
    truth: Arc<Truth>,
    sink: u16,
}

impl Bed {
    fn start() -> Result<Self> {
        let daemon = Daemon::start()?;
        daemon.import_node(IMAGE)?;
        let network = daemon.namespace()?;
        let runtime = network.runtime()?;
        let socket = daemon.socket().display().to_string();
        let agent = Agent::start(["--docker-socket", &socket, "--target", "container:chat-*"])?;
        Ok(Self { agent, runtime, network, daemon })
    }

    /// Runs a task in the containers' network.
    fn run<T: Send + 'static>(&self, task: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        self.runtime.block_on(self.runtime.spawn(task)).context("the task panicked")?
    }

    /// What attaches the agent's programs, to cgroups and in all; probes in Node.js are no cgroup's.
    fn links(&self) -> Result<[usize; 2]> {
        let held = Held::by(self.agent.pid())?;
        Ok([held.cgroup_links.len(), held.links.len()])
    }
}

impl<'a> Container<'a> {
    /// A container whose first act is to connect to the sink and send it a command; then it becomes the server.
    fn start(bed: &'a Bed, name: &'static str, listen: &str, options: &[&str]) -> Result<Self> {
        let truth = Arc::new(Truth::default());
        let sink = bed.run(sink::listen(Arc::clone(&truth.outbound)))?;
        let script = format!(
            r#"echo '{{"up":0,"down":5}}' | nc {GATEWAY} {sink}; exec node /app/server.js {listen} {PORT}"#
        );
        let run = ["run", "-d", "--name", name];
        bed.daemon.docker(&[&run, options, &[IMAGE, "sh", "-c", &script]].concat())?;
        let container = Self { bed, name, truth, sink };
        container.wait_listening(1)?;
        Ok(container)
    }

    /// Waits until the server has announced itself so often.
    fn wait_listening(&self, times: usize) -> Result<()> {
        wait_until("the server listens", || self.logs().matches("listening").count() == times)
            .with_context(|| format!("{} wrote: {}", self.name, self.logs()))
    }

    /// What the container wrote.
    fn logs(&self) -> String {
        self.bed.daemon.logs(self.name).unwrap_or_default()
    }

    /// The address that Docker gave it, by the name of the field of `docker inspect`.
    fn address(&self, field: &str) -> Result<SocketAddr> {
        let template = format!("{{{{.NetworkSettings.Networks.bridge.{field}}}}}");
        let address: IpAddr = self.bed.daemon.inspect(self.name, &template)?.parse()?;
        Ok(SocketAddr::new(address, PORT))
    }

    /// A connection over which something went both ways.
    fn open(&self, up: usize, down: usize) -> Result<Client> {
        let (address, truth) = (self.address("IPAddress")?, Arc::clone(&self.truth));
        self.bed.run(async move {
            let mut client = Client::open(address, &truth.inbound).await?;
            client.exchange(up, down).await?;
            Ok(client)
        })
    }

    fn play(&self, load: Load) -> Result<Vec<Client>> {
        let played = self.bed.run(random::run(load, Arc::clone(&self.truth)));
        played.with_context(|| format!("{} wrote: {}", self.name, self.logs()))
    }

    /// Compares while some connections are open, ends those, and compares again.
    fn compare(&self, held: Vec<Client>) -> Result<()> {
        let count = held.len() as u64;
        ensure!(self.truth.inbound.tally().open == count && count > 0, "some connections are still open");
        self.truth.wait_equal(&self.bed.agent, self.name)?;
        for (index, client) in held.into_iter().enumerate() {
            self.bed.run(client.end(Reason::ALL[index % Reason::ALL.len()]))?;
        }
        let metrics = self.truth.wait_equal(&self.bed.agent, self.name)?;
        assert!(metrics.sum("chat_tcp_connections", &[]).abs() < 0.5);
        let tally = self.truth.inbound.tally();
        assert_eq!(tally.closed.len(), Reason::ALL.len(), "every kind of end occurred: {tally:?}");
        Ok(())
    }

    /// A counter of the container's TCP, for its whole network namespace: file of /proc/net, prefix, name.
    fn counter(&self, file: &str, prefix: &str, name: &str) -> Result<f64> {
        let pid = self.bed.daemon.inspect(self.name, "{{.State.Pid}}")?.parse()?;
        let text = Namespace::of(pid)?.execute("cat", &[file])?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
        let (names, values) =
            lines.next().zip(lines.next()).with_context(|| format!("no {prefix} in {file}"))?;
        let mut fields = names.split(' ').zip(values.split(' '));
        let (_, value) = fields.find(|(own, _)| *own == name).with_context(|| format!("no {name}"))?;
        Ok(value.parse()?)
    }
}

#[test]
fn every_connection_and_byte_of_a_container_is_counted() -> Result<()> {
    let bed = Bed::start()?;
    let [of_cgroups, all] = bed.links()?;
    random_traffic(&bed)?;
    assert_eq!(bed.links()?[0], of_cgroups + LINKS);
    bed.daemon.docker(&["rm", "-f", "chat-calm"])?;
    restart(&bed)?;
    assert_eq!(bed.links()?[0], of_cgroups + LINKS);
    removal(&bed)?;
    assert_eq!(bed.links()?[0], of_cgroups);
    // The probes go with the next look for processes that run Node.js.
    wait_until("nothing is attached for the containers", || {
        bed.links().is_ok_and(|links| links == [of_cgroups, all])
    })?;
    ipv6(&bed)?;
    loss(&bed)
}

/// 200 connections at once over IPv4, and every way in which a connect can fail.
fn random_traffic(bed: &Bed) -> Result<()> {
    let port = SILENT_PORT.to_string();
    bed.network.execute(
        "iptables",
        &["-w", "-I", "INPUT", "-i", BRIDGE, "-p", "tcp", "--dport", &port, "-j", "DROP"],
    )?;
    // Two SYNs and three seconds until a connect that nobody answers fails.
    let options = ["--sysctl", "net.ipv4.tcp_syn_retries=1"];
    let container = Container::start(bed, "chat-calm", "0.0.0.0", &options)?;
    let load = Load {
        servers: vec![container.address("IPAddress")?],
        sinks: vec![gateway(GATEWAY, container.sink)?],
        refused: vec![gateway(GATEWAY, CLOSED_PORT)?],
        silent: vec![gateway(GATEWAY, SILENT_PORT)?],
        absent: vec![gateway(NOBODY, PORT)?],
        connections: 200,
        held: 20,
        lasting: Duration::from_secs(12),
        seed: 1,
    };
    let held = container.play(load)?;
    container.compare(held)?;
    let failures = container.truth.failures();
    for reason in ["refused", "timeout", "unreachable", "other"] {
        assert!(failures.contains_key(reason), "no connect ended so: {reason}; {failures:?}");
    }
    Ok(())
}

/// The same name again: its counters go on. Connections that are open then end as their other end sees it.
fn restart(bed: &Bed) -> Result<()> {
    let container = Container::start(bed, AGAIN, "0.0.0.0", &[])?;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(container.open(1000, 2000)?);
    }
    container.truth.wait_equal(&bed.agent, AGAIN)?;
    // Their other end answers at once: a FIN that nobody has acknowledged when Docker takes the container's link away leaves
    // its connection open, and a kernel acknowledges by itself after 40 ms only.
    let ends: Vec<_> = open.into_iter().map(|client| bed.runtime.spawn(client.ended_by_target())).collect();
    bed.daemon.docker(&["restart", "-t", "0", AGAIN])?;
    container.wait_listening(2)?;
    for end in ends {
        bed.runtime.block_on(end).context("the task panicked")??;
    }
    let open = container.open(30, 40)?;
    let metrics = container.truth.wait_equal(&bed.agent, AGAIN)?;
    assert_eq!(container.truth.inbound.tally().opened, 6);
    assert_eq!(container.truth.outbound.tally().opened, 2, "the first act of each start");
    assert_eq!(metrics.get("chat_target_restarts_total", &[]), Some(1.0));
    assert_eq!(metrics.get("chat_target_up", &[]), Some(1.0));
    drop(open);
    Ok(())
}

/// Its series stay for a while, and nothing stays attached.
fn removal(bed: &Bed) -> Result<()> {
    let before = bed.agent.scrape()?.only("container", AGAIN);
    bed.daemon.docker(&["rm", "-f", AGAIN])?;
    let gone = |metrics: &Metrics| metrics.get("chat_target_up", &[("container", AGAIN)]) == Some(0.0);
    let after = bed.agent.scrape_until(Duration::from_secs(10), gone)?;
    assert!(gone(&after), "the target is down");
    let opened =
        |metrics: &Metrics| metrics.sum("chat_tcp_connections_opened_total", &[("container", AGAIN)]);
    assert!((opened(&before) - opened(&after)).abs() < 0.5 && opened(&after) > 0.5, "counters stay");
    Ok(())
}

/// A server on `::`, reached over IPv6 and over IPv4 (which it sees as IPv4-mapped), calling over all three.
fn ipv6(bed: &Bed) -> Result<()> {
    let container = Container::start(bed, "chat-six", "::", &[])?;
    let mapped = format!("::ffff:{GATEWAY}");
    let load = Load {
        servers: vec![container.address("GlobalIPv6Address")?, container.address("IPAddress")?],
        sinks: [GATEWAY_6, GATEWAY, &mapped]
            .map(|address| gateway(address, container.sink))
            .into_iter()
            .collect::<Result<_>>()?,
        refused: vec![gateway(GATEWAY_6, CLOSED_PORT)?, gateway(&mapped, CLOSED_PORT)?],
        silent: Vec::new(),
        absent: vec![gateway(NOBODY_6, PORT)?],
        connections: 60,
        held: 12,
        lasting: Duration::from_secs(6),
        seed: 2,
    };
    let held = container.play(load)?;
    container.compare(held)
}

/// Packets are lost on the container's veth, both ways: what is sent again counts once.
fn loss(bed: &Bed) -> Result<()> {
    let container = Container::start(bed, "chat-lossy", "0.0.0.0", &[])?;
    bed.network.lose(BRIDGE, LOSS)?;
    let load = Load {
        servers: vec![container.address("IPAddress")?],
        sinks: vec![gateway(GATEWAY, container.sink)?],
        refused: vec![gateway(GATEWAY, CLOSED_PORT)?],
        silent: Vec::new(),
        absent: Vec::new(),
        connections: 200,
        held: 20,
        lasting: Duration::from_secs(12),
        seed: 3,
    };
    let held = container.play(load)?;
    container.compare(held)?;
    let all = container.counter("/proc/net/snmp", "Tcp: ", "RetransSegs")?;
    // A SYN that is answered again is no connection's if it was not the one from which the connection came.
    let handshakes = container.counter("/proc/net/netstat", "TcpExt: ", "TCPSynRetrans")?;
    let metrics = bed.agent.scrape()?.only("container", container.name);
    let counted = metrics.sum("chat_tcp_retransmitted_segments_total", &[]);
    println!("segments sent again: {counted} counted, {all} in all, {handshakes} of handshakes");
    assert!(counted > 100.5, "packets were lost");
    assert!(counted <= all && counted >= all - handshakes, "{counted} of {all}, {handshakes} of handshakes");
    Ok(())
}

fn gateway(address: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse()?, port))
}
