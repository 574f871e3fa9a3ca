//! Rounds in turn, each a process that starts and is killed at a random moment: the agent, or one that only uses the CPU
//! as much. What a call suffered in rounds of the one kind and not in the other is the kind's doing.

use std::{
    hint::black_box,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::calls::{Slow, now};
use crate::{
    agent,
    bench::usage::ThreadTimes,
    process::{Background, PATIENCE},
};

/// Between two rounds, for the kernel to free what the round has left.
const PAUSE: Duration = Duration::from_millis(100);

/// Threads of the process that only uses the CPU; as many load the kernel half for longer.
const THREADS: usize = 2;

/// What is started in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The agent.
    Agent,
    /// A process that uses as much CPU time as an agent that starts.
    Busy,
}

/// A round that is over.
#[derive(Clone, Debug)]
pub struct Round {
    /// What was started.
    pub kind: Kind,
    /// When, in seconds of the monotonic clock.
    pub began: f64,
    /// When the pause after it was over.
    pub ended: f64,
    /// What the process wrote.
    pub output: String,
}

/// What an agent needs to start while everything else runs.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Until it is ready.
    pub took: Duration,
    /// CPU time of all its threads until then.
    pub cpu: Duration,
}

impl Start {
    /// Starts an agent, waits until it is ready, and stops it.
    pub fn measure(selector: &str) -> Result<Self> {
        let begun = Instant::now();
        let agent = agent::Agent::start(["--docker-socket", "", "--target", selector])?;
        let took = begun.elapsed();
        // Threads that loaded programs have ended; the process still has their time.
        let cpu = process_time(agent.pid())?;
        ensure!(agent.stop()?.success(), "the agent did not stop cleanly");
        Ok(Self { took, cpu })
    }
}

/// CPU time of a process and of all its threads that have ended, in hundredths of a second: `man 5 proc_pid_stat`.
fn process_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let (_, fields) = text.rsplit_once(") ").context("no name")?;
    let mut ticks = fields.split(' ').skip(11).take(2).map_while(|ticks| ticks.parse::<u64>().ok());
    let both = ticks.next().zip(ticks.next()).context("no times")?;
    Ok(Duration::from_millis((both.0 + both.1) * 10))
}

/// Plays one round that lasts `life`; `program` is the one with [`spin`].
pub fn play(kind: Kind, life: Duration, selector: &str, start: Start, program: &Path) -> Result<Round> {
    let mut command = match kind {
        Kind::Agent => {
            let mut command = Command::new(agent::binary()?);
            command.args(["run", "--listen", "127.0.0.1:0", "--docker-socket", "", "--target", selector]);
            command
        }
        Kind::Busy => {
            let mut command = Command::new(program);
            command.args(["spin", &start.cpu.as_millis().to_string()]);
            command
        }
    };
    let began = now();
    let mut process = Background::start(command.env("NO_COLOR", "1"))?;
    super::sleep(life)?;
    ensure!(process.exited()?.is_none(), "{kind:?} ended by itself:\n{}", process.output());
    process.signal(Signal::KILL)?;
    process.wait(PATIENCE)?;
    super::sleep(PAUSE)?;
    Ok(Round { kind, began, ended: now(), output: process.output() })
}

/// Uses so much CPU time, in two threads, then does nothing.
pub fn spin(milliseconds: u64) -> Result<()> {
    let each = Duration::from_millis(milliseconds / THREADS as u64);
    let threads: Vec<_> = (0..THREADS).map(|_| thread::spawn(move || spin_alone(each))).collect();
    for thread in threads {
        thread.join().ok().context("a thread panicked")??;
    }
    thread::sleep(Duration::from_hours(1));
    Ok(())
}

fn spin_alone(cpu: Duration) -> Result<()> {
    let own = rustix::thread::gettid().as_raw_nonzero().get().to_string();
    let used = || -> Result<Duration> { ThreadTimes::read(std::process::id())?.of(&own) };
    while used()? < cpu {
        for number in 0..1_000_000_u64 {
            black_box(number);
        }
    }
    Ok(())
}

/// Calls that were under way in rounds of a kind, the longest first.
pub fn slow_in(rounds: &[Round], kind: Kind, slow: &[Slow]) -> Vec<Slow> {
    let touches = |call: &Slow| {
        let ended = call.began + call.milliseconds / 1e3;
        let mut of_kind = rounds.iter().filter(|round| round.kind == kind);
        of_kind.any(|round| call.began < round.ended && ended > round.began)
    };
    let mut slow: Vec<Slow> = slow.iter().filter(|call| touches(call)).copied().collect();
    slow.sort_by(|one, other| other.milliseconds.total_cmp(&one.milliseconds));
    slow
}
