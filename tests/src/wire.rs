//! Two network namespaces with a wire between them that loses packets or reorders them, as a test likes.
//! Segments have the size of a real network's, and nothing outside the namespaces is touched.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{cgroup::Cgroup, namespace::Namespace, process::Background};

/// How long the helpers may take to start, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// The interface of either namespace.
const INTERFACE: &str = "wire";

/// Where the server is.
pub const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));

/// A namespace that lives as long as a process that does nothing.
struct Place {
    holder: Background,
    namespace: Namespace,
}

impl Place {
    fn create() -> Result<Self> {
        let script = "ip link set lo up && echo ready && exec sleep infinity";
        let mut holder = Background::start(Command::new("unshare").args(["-n", "sh", "-c", script]))
            .context("cannot make a network namespace")?;
        holder.wait_for("network namespace", READY_WITHIN, |line| (line == "ready").then_some(()))?;
        let namespace = Namespace::of(holder.pid())?;
        Ok(Self { holder, namespace })
    }

    /// A wire's end here; its other end is `far` in `between`.
    fn connect(&self, between: &Self, far: &str, address: &str) -> Result<()> {
        let (own, other) = (self.holder.pid().to_string(), between.holder.pid().to_string());
        let ends =
            ["link", "add", INTERFACE, "netns", &own, "type", "veth", "peer", "name", far, "netns", &other];
        self.namespace.execute("ip", &ends)?;
        between.namespace.execute("ip", &["link", "set", far, "up"])?;
        // One segment per packet: what is lost or late is never more.
        self.namespace.execute("ip", &["link", "set", INTERFACE, "gso_max_segs", "1", "up"])?;
        self.namespace.execute("ip", &["address", "add", address, "dev", INTERFACE]).map(drop)
    }
}

/// Both namespaces and what is between them.
pub struct Wire {
    client: Place,
    server: Place,
    _forwarder: Background,
    _between: Place,
}

impl Wire {
    /// A wire on which this share of the packets comes late, each way.
    pub fn create(late: f64) -> Result<Self> {
        let (client, server, between) = (Place::create()?, Place::create()?, Place::create()?);
        client.connect(&between, "client", "10.77.0.1/24")?;
        server.connect(&between, "server", "10.77.0.2/24")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/shuffle.py");
        let mut command = between.inside(Command::new("nsenter"), "python3");
        command.arg(script).args(["client", "server", &late.to_string()]);
        let mut forwarder = Background::start(&mut command)?;
        forwarder.wait_for("wire", READY_WITHIN, |line| (line == "forwarding").then_some(()))?;
        Ok(Self { client, server, _forwarder: forwarder, _between: between })
    }

    /// The client's namespace.
    pub fn client(&self) -> &Namespace {
        &self.client.namespace
    }

    /// Also loses this share of the packets, each way.
    pub fn lose(&self, share: f64) -> Result<()> {
        self.client.namespace.lose(INTERFACE, share)
    }

    /// Runs a program in the server's namespace; what it wrote.
    pub fn server_execute(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.server.namespace.execute(program, arguments)
    }

    /// Takes the server's end of the wire away, and with it the other one.
    pub fn cut(&self) -> Result<()> {
        self.server_execute("ip", &["link", "delete", INTERFACE]).map(drop)
    }

    /// A command that runs `program` in the server's namespace, inside `cgroup`.
    pub fn server_command(&self, cgroup: &Cgroup, program: &str) -> Command {
        self.server.inside(cgroup.command("nsenter"), program)
    }

    /// A counter of the server's TCP, by its name in /proc/net/netstat or /proc/net/snmp.
    pub fn server_counter(&self, name: &str) -> Result<u64> {
        let text = self.server.namespace.execute("cat", &["/proc/net/netstat", "/proc/net/snmp"])?;
        let lines: Vec<&str> = text.lines().collect();
        let pairs = lines.chunks_exact(2).map(|pair| pair[0].split(' ').zip(pair[1].split(' ')));
        let value = pairs.flatten().find(|(own, _)| *own == name).and_then(|(_, value)| value.parse().ok());
        value.with_context(|| format!("no {name} among the counters"))
    }
}

impl Place {
    /// Makes `nsenter` run a program here.
    fn inside(&self, mut nsenter: Command, program: &str) -> Command {
        nsenter.arg(format!("--net=/proc/{}/ns/net", self.holder.pid())).arg(program);
        nsenter
    }
}
