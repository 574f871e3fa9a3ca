//! A client that keeps calling a server until its input ends, then tells what it saw: every answer, failure and stall.
//! A process of its own, so that it can have a priority of its own; a thread per connection, which waits for each answer.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::application::Priority;

/// What is asked.
const REQUEST: &[u8] = b"GET /api/version HTTP/1.1\r\nHost: chat.example\r\n\r\n";

/// How long an answer may take before the call has failed.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// From here on a call is noted by itself.
const NOTED_MS: f64 = 5.0;

/// How a client calls.
#[derive(Args, Clone, Copy, Debug)]
pub struct Manner {
    /// The server.
    pub server: SocketAddr,
    /// Connections, each called over by a thread.
    #[arg(long)]
    pub connections: usize,
    /// Calls after which a connection is closed and another one opened; 0 keeps them.
    #[arg(long, default_value_t = 0)]
    pub renewed_after: u64,
    /// Microseconds from one call of a connection to the next; 0 calls as soon as there is an answer.
    #[arg(long, default_value_t = 0)]
    pub every: u64,
}

/// A call that took long.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Slow {
    /// When it was to begin, in seconds of the monotonic clock.
    pub began: f64,
    /// How long it took from then on.
    pub milliseconds: f64,
}

/// What a client saw.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Calls {
    /// Calls that were answered.
    pub answered: u64,
    /// What went wrong; each ends its connection.
    pub failures: Vec<String>,
    /// Connections opened.
    pub opened: u64,
    /// Connections closed.
    pub closed: u64,
    /// Calls that took five milliseconds and longer.
    pub slow: Vec<Slow>,
}

impl Calls {
    /// Adds what another client saw.
    pub fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.failures.extend(other.failures);
        self.opened += other.opened;
        self.closed += other.closed;
        self.slow.extend(other.slow);
    }

    /// Fails where a call has failed.
    pub fn require_no_failure(&self) -> Result<()> {
        let failures = self.failures.len();
        ensure!(
            failures == 0,
            "{failures} calls failed, {} were answered: {}",
            self.answered,
            self.failures[0]
        );
        Ok(())
    }
}

/// Now, in seconds of the monotonic clock, which all processes share.
pub fn now() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// A running client; it is killed when this is dropped.
pub struct Caller {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Caller {
    /// Starts one by `program` (`env!("CARGO_BIN_EXE_faults")` in a test) and waits for its first answer.
    pub fn start(program: &Path, manner: Manner, priority: Priority) -> Result<Self> {
        let Manner { server, connections, renewed_after, every } = manner;
        let mut child = priority
            .command(program)
            .args(["call", &server.to_string(), "--connections", &connections.to_string()])
            .args(["--renewed-after", &renewed_after.to_string(), "--every", &every.to_string()])
            // Ctrl-C is the starter's affair, which then ends it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a client")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("the client has no output")?);
        let mut caller = Self { child, input, output };
        let line = caller.line()?;
        ensure!(line == "answered", "the client got no answer: {line}");
        Ok(caller)
    }

    /// Ends it; what it saw. All its connections are closed then.
    pub fn end(mut self) -> Result<Calls> {
        drop(self.input.take());
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("not a report of a client: {line}"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("cannot read from the client")?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // Both fail only where it has ended and been waited for, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The client's own side: calls until standard input ends, then prints what it saw.
pub fn call(manner: Manner) -> Result<()> {
    let over = AtomicBool::new(false);
    let all = thread::scope(|scope| {
        let callers: Vec<_> =
            (0..manner.connections).map(|_| scope.spawn(|| call_over(manner, &over))).collect();
        // The first answer on a connection of its own says that the server is there.
        let mut first = Calls::default();
        let mut connection = Connection::open(manner.server, &mut first);
        let answered = connection.as_mut().map_or(Ok(()), Connection::call);
        println!("{}", answered.map_or_else(|error| format!("{error:#}"), |()| "answered".to_owned()));
        first.answered += 1;
        first.closed += 1;
        drop(connection);
        let ended = std::io::stdin().read_to_end(&mut Vec::new());
        over.store(true, Ordering::Relaxed);
        for caller in callers {
            match caller.join() {
                Ok(calls) => first.add(calls),
                Err(_) => bail!("a thread of the client panicked"),
            }
        }
        ended.context("cannot read the input")?;
        Ok(first)
    })?;
    println!("{}", serde_json::to_string(&all)?);
    Ok(())
}

/// One connection after the other, until it is over.
fn call_over(manner: Manner, over: &AtomicBool) -> Calls {
    let mut calls = Calls::default();
    let pace = Duration::from_micros(manner.every);
    let mut due = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let Some(mut connection) = Connection::open(manner.server, &mut calls) else {
            // As often as calls, so that a server that is gone is not all that is written down.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let mut left = if manner.renewed_after == 0 { u64::MAX } else { manner.renewed_after };
        while left > 0 && !over.load(Ordering::Relaxed) {
            left -= 1;
            if pace.is_zero() {
                due = Instant::now();
            } else {
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let answered = connection.call();
            // From when it was due: a client that could not begin in time has waited too.
            let milliseconds = due.elapsed().as_secs_f64() * 1e3;
            if milliseconds >= NOTED_MS {
                calls.slow.push(Slow { began: now() - milliseconds / 1e3, milliseconds });
            }
            due = (due + pace).max(Instant::now());
            match answered {
                Ok(()) => calls.answered += 1,
                Err(error) => {
                    calls.failures.push(format!("{error:#}"));
                    break;
                }
            }
        }
        drop(connection);
        calls.closed += 1;
    }
    calls
}

/// A connection of which every answer has the same length as the first.
struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects; `None` where that failed, which is entered.
    fn open(server: SocketAddr, calls: &mut Calls) -> Option<Self> {
        let open = || -> Result<Self> {
            let stream = TcpStream::connect_timeout(&server, ANSWERED_WITHIN).context("cannot connect")?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWERED_WITHIN))?;
            Ok(Self { stream, answer: vec![0; 4096] })
        };
        match open() {
            Ok(connection) => {
                calls.opened += 1;
                Some(connection)
            }
            Err(error) => {
                calls.failures.push(format!("{error:#}"));
                None
            }
        }
    }

    /// Asks once and reads the whole answer.
    fn call(&mut self) -> Result<()> {
        self.stream.write_all(REQUEST).context("cannot ask")?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.answer[filled..]).context("no answer")?;
            ensure!(read > 0, "the server closed instead of answering");
            filled += read;
            if let Some(length) = whole_length(&self.answer[..filled])? {
                ensure!(length == filled, "{filled} bytes came and {length} were announced");
                return Ok(());
            }
        }
    }
}

/// The length of an answer with head and body, once all of it is there; an error where it is not the one wanted.
fn whole_length(answer: &[u8]) -> Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end]).context("the head is not UTF-8")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "not the answer that was wanted: {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.context("no length")?.parse().context("not a length")?;
    let whole = end + 4 + length;
    Ok((answer.len() >= whole).then_some(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is_there() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(whole_length(answer).unwrap(), Some(answer.len()));
        assert_eq!(whole_length(&answer[..answer.len() - 1]).unwrap(), None);
        assert_eq!(whole_length(&answer[..20]).unwrap(), None);
        assert!(whole_length(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").is_err());
    }
}
