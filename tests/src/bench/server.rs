//! The workload: a Node.js server in a cgroup of its own, and wrk, which saturates it.
//! wrk's output: <https://github.com/wg/wrk/blob/4.1.0/src/wrk.c> (its report) and `src/units.c`.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{cgroup::Cgroup, process::Background};

/// The server's program.
pub const PROGRAM: &str = include_str!("server.js");

/// How long Node.js may take to start.
const START_WITHIN: Duration = Duration::from_secs(20);

/// How long the server is under load before anything is measured, for its compiler to be done.
const WARM_UP: Duration = Duration::from_secs(3);

/// Bytes of the head of each answer, for which the budget of an exchange is made.
const HEAD_BYTES: usize = 165;

/// Connections that wrk keeps busy.
const CONNECTIONS: u32 = 16;

/// The server, in a cgroup that nothing else is in.
pub struct Server {
    address: SocketAddr,
    // Before the cgroup, which can only be removed when it is empty.
    process: Background,
    cgroup: Cgroup,
}

/// How wrk goes about its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// All requests on the same connections, from outside of the server's cgroup.
    KeepAlive,
    /// One request at a time on one connection: then each is a turn of the event loop of its own, or two.
    OneByOne,
    /// A connection for each request, from inside: then every event on a socket is of one that is observed.
    Reconnect,
}

/// What wrk did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Done {
    /// Requests answered.
    pub requests: f64,
    /// Requests answered per second.
    pub per_second: f64,
    /// The latency that one request in a hundred exceeds.
    pub p99: Duration,
}

impl Server {
    /// Starts it and waits until it listens.
    pub fn start() -> Result<Self> {
        Self::start_by(Path::new("node"))
    }

    /// As [`Server::start`], by this Node.js.
    pub fn start_by(node: &Path) -> Result<Self> {
        let cgroup = Cgroup::create("observer-bench")?;
        let mut process = Background::start(cgroup.command(node).args(["-e", PROGRAM]))
            .context("the benchmark needs Node.js; `cargo xtask setup --tests` installs it")?;
        let port =
            process.wait_for("port", START_WITHIN, |line| line.strip_prefix("listening ")?.parse().ok())?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        check_head(address).context("the server is not the one that figures are made for")?;
        Ok(Self { address, process, cgroup })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file that it runs.
    pub fn executable(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/exe", self.process.pid()))
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Puts it under load once without measuring.
    pub fn warm_up(&self) -> Result<()> {
        self.load(WARM_UP, Load::KeepAlive).map(drop)
    }

    /// Saturates it for `duration` (whole seconds).
    pub fn load(&self, duration: Duration, load: Load) -> Result<Done> {
        let mut wrk = match load {
            Load::KeepAlive | Load::OneByOne => Command::new("wrk"),
            Load::Reconnect => self.cgroup.command("wrk"),
        };
        let connections = if load == Load::OneByOne { 1 } else { CONNECTIONS };
        wrk.args(["--threads", "1", "--connections", &connections.to_string(), "--latency"])
            .args(["--duration", &format!("{}s", duration.as_secs())]);
        if load == Load::Reconnect {
            wrk.args(["--header", "Connection: close"]);
        }
        let run = wrk
            .arg(format!("http://{}/", self.address))
            .output()
            .context("cannot start wrk; `cargo xtask setup --tests` installs it")?;
        let output = String::from_utf8_lossy(&run.stdout);
        if !run.status.success() {
            bail!("wrk failed ({}): {}", run.status, String::from_utf8_lossy(&run.stderr).trim());
        }
        if output.contains("Socket errors") || output.contains("Non-2xx") {
            bail!("not every request of wrk was answered:\n{output}");
        }
        parse(&output).with_context(|| format!("wrk's report lacks a number:\n{output}"))
    }
}

/// Fails where the head of an answer has another length than the budget speaks of.
fn check_head(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).context("cannot connect")?;
    stream.set_read_timeout(Some(START_WITHIN)).context("cannot set a time limit")?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").context("cannot send")?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).context("cannot read the answer")?;
        head.extend(byte);
    }
    if head.len() != HEAD_BYTES {
        bail!("the answer's head has {} bytes, not {HEAD_BYTES}", head.len());
    }
    Ok(())
}

/// Reads wrk's report.
fn parse(report: &str) -> Option<Done> {
    let after = |key: &str| report.lines().find_map(|line| line.trim().strip_prefix(key));
    let requests = report.lines().find_map(|line| line.split_once(" requests in "))?.0;
    Some(Done {
        requests: requests.trim().parse().ok()?,
        per_second: after("Requests/sec:")?.trim().parse().ok()?,
        p99: time(after("99%")?.trim())?,
    })
}

/// A time as wrk writes it: a number and its unit.
fn time(text: &str) -> Option<Duration> {
    let unit = text.find(|character: char| character.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_s_report_is_read() {
        let report = "Running 4s test @ http://127.0.0.1:40001/\n  1 threads and 16 connections\n  \
            Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   249.11us  143.53us   5.92ms   97.53%\n    \
            Req/Sec    65.02k     6.65k   73.58k    80.49%\n  Latency Distribution\n     50%  225.00us\n     \
            75%  251.00us\n     90%  302.00us\n     99%    0.87ms\n  265219 requests in 4.10s, 91.81MB read\n\
            Requests/sec:  64690.98\nTransfer/sec:     22.39MB\n";
        let done = Done { requests: 265_219.0, per_second: 64690.98, p99: Duration::from_micros(870) };
        assert_eq!(parse(report), Some(done));
        assert_eq!(parse("unable to connect"), None);
    }

    #[test]
    fn times_come_in_four_units() {
        assert_eq!(time("225.00us"), Some(Duration::from_micros(225)));
        assert_eq!(time("1.50s"), Some(Duration::from_millis(1500)));
        assert_eq!(time("2.00m"), Some(Duration::from_mins(2)));
        assert_eq!(time("3"), None);
        assert_eq!(time("3.00h"), None);
    }
}
