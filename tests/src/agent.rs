//! The observer under test, as the program that was built.
//! `OBSERVER_BIN` names it; without it, the one in the workspace's target folder.

use std::{
    env,
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    http,
    metrics::Metrics,
    process::{Background, Ended},
};

/// How long the agent may take to serve and to be ready, on a busy machine or an emulated one.
const READY_WITHIN: Duration = Duration::from_mins(4);

/// How often readiness is asked for.
const POLL: Duration = Duration::from_millis(20);

/// A running agent; it is killed when this is dropped.
pub struct Agent {
    process: Background,
    address: SocketAddr,
}

impl Agent {
    /// Starts `observer run` with `arguments` on a free port of loopback and waits until it is ready.
    pub fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Self> {
        Self::listening("127.0.0.1:0", arguments)
    }

    /// Starts `observer run` with `arguments` on `listen` and waits until it is ready.
    pub fn listening<A: AsRef<OsStr>>(listen: &str, arguments: impl IntoIterator<Item = A>) -> Result<Self> {
        let mut agent = Self::serving(listen, arguments)?;
        agent.wait_ready()?;
        Ok(agent)
    }

    /// Starts `observer run` with `arguments` on `listen` and waits until it serves, ready or not.
    pub fn serving<A: AsRef<OsStr>>(listen: &str, arguments: impl IntoIterator<Item = A>) -> Result<Self> {
        Self::serving_by(Command::new(binary()?), listen, arguments)
    }

    /// As [`Agent::start`], by `command`, which becomes the agent's program, for example as another user.
    pub fn start_by<A: AsRef<OsStr>>(
        command: Command,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let mut agent = Self::serving_by(command, "127.0.0.1:0", arguments)?;
        agent.wait_ready()?;
        Ok(agent)
    }

    fn serving_by<A: AsRef<OsStr>>(
        mut command: Command,
        listen: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        command.args(["run", "--listen", listen]).args(arguments).env("NO_COLOR", "1");
        let mut process = Background::start(&mut command)?;
        let address = process.wait_for("an address", READY_WITHIN, announced_address)?;
        Ok(Self { process, address })
    }

    /// Waits until /readyz answers 200.
    pub fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let answer = http::get(self.address, "/readyz");
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if let Some(status) = self.process.exited()? {
                bail!("the observer ended ({status}); it wrote:\n{}", self.process.output());
            }
            if Instant::now() > deadline {
                bail!("the observer is not ready: {answer:?}; it wrote:\n{}", self.process.output());
            }
            thread::sleep(POLL);
        }
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its process, for signals and its log.
    pub fn process(&mut self) -> &mut Background {
        &mut self.process
    }

    /// One scrape of /metrics.
    pub fn scrape(&self) -> Result<Metrics> {
        let answer = http::get(self.address, "/metrics")?;
        if answer.status != 200 {
            bail!("/metrics answered {}: {}", answer.status, answer.text());
        }
        Metrics::parse(&answer.text())
    }

    /// Scrapes until `done` holds or `limit` is over; the last scrape either way.
    pub fn scrape_until(&self, limit: Duration, done: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
        let deadline = Instant::now() + limit;
        loop {
            let metrics = self.scrape()?;
            if done(&metrics) || Instant::now() > deadline {
                return Ok(metrics);
            }
            thread::sleep(POLL);
        }
    }

    /// Ends it by SIGTERM; how it ended. That it panicked, whatever came of it, is an error.
    pub fn stop(self) -> Result<ExitStatus> {
        let ended = self.process.stop_and_read()?;
        ensure!(!ended.output.contains("panicked at"), "the observer panicked:\n{}", ended.output);
        Ok(ended.status)
    }
}

/// Runs `command`, in which the agent is expected to end by itself, to its end.
pub fn run_to_end(command: &mut Command) -> Result<Ended> {
    Background::start(command.env("NO_COLOR", "1"))?.finish(READY_WITHIN)
}

/// The agent's program: `OBSERVER_BIN`, else the one that `cargo xtask build` made.
pub fn binary() -> Result<PathBuf> {
    let binary = match env::var_os("OBSERVER_BIN") {
        Some(named) => PathBuf::from(named),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/observer"),
    };
    binary
        .canonicalize()
        .with_context(|| format!("no observer at {}; build it with `cargo xtask build`", binary.display()))
}

/// The address in a log line that says `http://127.0.0.1:9435/metrics`.
fn announced_address(line: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once("http://")?;
    let (address, _) = after.split_once("/metrics")?;
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_either_log_format() {
        let address = Some(SocketAddr::from(([127, 0, 0, 1], 9435)));
        assert_eq!(announced_address("INFO observer: listening url=http://127.0.0.1:9435/metrics"), address);
        assert_eq!(announced_address(r#"{"message":"x","url":"http://127.0.0.1:9435/metrics"}"#), address);
        assert_eq!(announced_address("see http://example.com/metrics"), None);
    }
}
