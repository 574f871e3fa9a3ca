//! Two network namespaces with a wire between them on which a test decides what happens to which frame.
//! `fixtures/corners/link.py` forwards; what it does is one word, and what it did it says in its output.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Result;

use super::room::Room;
use crate::process::Background;

/// How long the forwarder may take to start.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Where the target is, on any port.
pub const TARGET: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 78, 0, 2)), 0);
/// Where the test is, on any port.
pub const TEST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 78, 0, 1)), 0);

/// Both ends and what is between them.
pub struct Link {
    forwarder: Background,
    /// The test's end.
    pub test: Room,
    /// The target's end.
    pub target: Room,
    _between: Room,
}

impl Link {
    /// A wire that does `what` to frames, and takes packets of `mtu` bytes.
    pub fn create(what: &str, mtu: u32) -> Result<Self> {
        let (test, target, between) = (Room::create()?, Room::create()?, Room::create()?);
        for (room, far, address) in [(&test, "test", TEST), (&target, "target", TARGET)] {
            let (own, other) = (room.pid(), between.pid());
            room.run(&format!(
                "ip link add wire mtu {mtu} netns {own} type veth peer name {far} mtu {mtu} netns {other}"
            ))?;
            between.run(&format!("ip link set {far} up"))?;
            // One segment per packet: what is lost or late is never more.
            room.run("ip link set wire gso_max_segs 1 up")?;
            room.run(&format!("ip address add {}/24 dev wire", address.ip()))?;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corners/link.py");
        let mut command = between.outside("python3");
        command.arg(script).args(["test", "target", what]);
        let mut forwarder = Background::start(&mut command)?;
        forwarder.wait_for("wire", READY_WITHIN, |line| (line == "forwarding").then_some(()))?;
        Ok(Self { forwarder, test, target, _between: between })
    }

    /// How often the forwarder says that it did something to a frame.
    pub fn done(&self) -> usize {
        self.forwarder.output().lines().filter(|line| line.starts_with("did ")).count()
    }
}
