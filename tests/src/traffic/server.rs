//! The target as a process in a cgroup of the test's own, on loopback.
//! For what needs no container.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use super::server_script;
use crate::{cgroup::Cgroup, process::Background};

/// How long Node.js may take to start, on a busy machine.
const LISTENING_WITHIN: Duration = Duration::from_secs(30);

/// A running server; it is killed when this is dropped.
pub struct Server {
    process: Background,
    address: SocketAddr,
}

impl Server {
    /// Starts one in `cgroup`, on a free port of `host`.
    pub fn start(cgroup: &Cgroup, host: IpAddr) -> Result<Self> {
        let mut command = cgroup.command("node");
        command.arg(server_script()).arg(host.to_string());
        Self::start_by(command, host)
    }

    /// Starts one by `command`, which listens on a free port of `host` and says so as `fixtures/server.js` does.
    pub fn start_by(mut command: Command, host: IpAddr) -> Result<Self> {
        let mut process = Background::start(&mut command)?;
        let port = |line: &str| line.strip_prefix("listening on port ")?.parse().ok();
        let port = process.wait_for("port", LISTENING_WITHIN, port)?;
        Ok(Self { process, address: SocketAddr::new(host, port) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How many sockets it has open, the one that listens among them.
    pub fn sockets(&self) -> Result<usize> {
        let folder = format!("/proc/{}/fd", self.pid());
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?;
        let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        Ok(targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count())
    }
}
