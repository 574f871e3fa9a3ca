//! The application: a Node.js server in the target's cgroup, at the priority that programs have, or above all of them.
//! At a real-time priority nothing that merely takes CPU time holds it up; what does then is in the kernel, or the machine.

use std::{ffi::OsStr, net::SocketAddr, process::Command, time::Duration};

use anyhow::Result;

use crate::{bench::server::PROGRAM, cgroup::Cgroup, process::Background};

/// How long Node.js may take to start, on a busy machine.
const LISTENING_WITHIN: Duration = Duration::from_secs(30);

/// At which priority a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// As programs do.
    Usual,
    /// `SCHED_FIFO`: before every program without a real-time priority.
    RealTime,
}

impl Priority {
    /// A command that runs `program` so.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut words = self.words(program.as_ref());
        let mut command = Command::new(words.remove(0));
        command.args(words);
        command
    }

    fn words(self, program: &OsStr) -> Vec<&OsStr> {
        match self {
            Self::Usual => vec![program],
            Self::RealTime => ["chrt", "-f", "10"].map(OsStr::new).into_iter().chain([program]).collect(),
        }
    }
}

/// A running server; it is killed when this is dropped.
pub struct Application {
    address: SocketAddr,
    process: Background,
}

impl Application {
    /// Starts one in `cgroup`.
    pub fn start(cgroup: &Cgroup, priority: Priority) -> Result<Self> {
        let mut words = priority.words(OsStr::new("node"));
        let mut command = cgroup.command(words.remove(0));
        let mut process = Background::start(command.args(words).args(["-e", PROGRAM]))?;
        let port = |line: &str| line.strip_prefix("listening ")?.parse().ok();
        let port = process.wait_for("port", LISTENING_WITHIN, port)?;
        Ok(Self { address: SocketAddr::from(([127, 0, 0, 1], port)), process })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}
