//! A run: an agent, a target in a cgroup that serves or asks, and on the other side this program itself; on loopback, or
//! over a wire that loses and reorders packets. Batch by batch, what the metrics have gained is compared.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
    process::Command,
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

use super::{compare::Comparison, conversation::Mix, parties, tally::Tally};
use crate::{
    agent::Agent,
    cgroup::Cgroup,
    http::dialog::Side,
    process::{Background, own_program},
    wire::{self, Wire},
};

/// Conversations at once: enough to keep a wire with losses busy, and few enough that each is soon over.
const AT_ONCE: [usize; 2] = [8, 64];
/// Conversations in a batch.
const BATCH: u64 = 200;
/// How long a target may take to start, and after its last connection to end.
const STARTED_WITHIN: Duration = Duration::from_secs(20);
/// How long a batch may take.
const PLAYED_WITHIN: Duration = Duration::from_mins(5);
/// How long the last bytes may take to reach the metrics: on a wire, they may have to be sent again some times.
const SETTLED_WITHIN: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(10)];
/// Between two looks at the metrics.
const POLL: Duration = Duration::from_millis(50);

/// The share of packets that come late, and of those that are lost.
const LATE: f64 = 0.01;
const LOST: f64 = 0.01;

/// The client's end of [`Wire`].
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));

/// Where a run is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Which side is the target.
    pub target: Side,
    /// Over a wire that loses and reorders packets, instead of loopback.
    pub wire: bool,
}

impl Variant {
    /// All four.
    pub const ALL: [Self; 4] = [
        Self { target: Side::Server, wire: false },
        Self { target: Side::Client, wire: false },
        Self { target: Side::Server, wire: true },
        Self { target: Side::Client, wire: true },
    ];
}

impl fmt::Display for Variant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.target == Side::Server { "server" } else { "client" };
        write!(formatter, "{side}-{}", if self.wire { "wire" } else { "loopback" })
    }
}

impl FromStr for Variant {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|variant| variant.to_string() == text);
        found.with_context(|| {
            format!(
                "there is no variant `{text}`; there are {}",
                Self::ALL.map(|it| it.to_string()).join(", ")
            )
        })
    }
}

/// What one batch came to.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The conversations that it was made of.
    pub numbers: Range<u64>,
    /// What was asked and answered.
    pub tally: Tally,
    /// What the metrics say of it.
    pub comparison: Comparison,
}

/// An agent, a target and what is between it and us.
pub struct Stage {
    variant: Variant,
    agent: Agent,
    runtime: Runtime,
    cgroup: Cgroup,
    wire: Option<Wire>,
    _folder: TempDir,
}

impl Stage {
    /// Sets it up.
    pub fn new(variant: Variant) -> Result<Self> {
        let cgroup = Cgroup::create("observer-random")?;
        let wire = variant.wire.then(|| Wire::create(LATE)).transpose()?;
        if let Some(wire) = &wire {
            wire.lose(LOST)?;
        }
        let folder = TempDir::new().context("cannot make a folder")?;
        let file = folder.path().join("observer.toml");
        // Whether an answer without a length is a stream is not to be a matter of the machine's pace; and more routes are asked for
        // than one target has series for by default.
        std::fs::write(
            &file,
            "[streams]\nafter = \"1h\"\n[limits]\nseries = 100000\n[docker]\nsocket = \"\"\n",
        )
        .context("cannot write")?;
        let target = format!("{},app=generic", cgroup.selector());
        let agent =
            Agent::start(["--config".as_ref(), file.as_os_str(), "--target".as_ref(), target.as_ref()])?;
        let runtime = match &wire {
            Some(wire) => wire.client().runtime()?,
            None => {
                Builder::new_multi_thread().worker_threads(1).enable_all().build().context("no runtime")?
            }
        };
        Ok(Self { variant, agent, runtime, cgroup, wire, _folder: folder })
    }

    /// Plays these conversations and compares.
    pub fn batch(&self, mix: Mix, numbers: Range<u64>) -> Result<Batch> {
        let before = self.agent.scrape()?;
        let tally = match self.variant.target {
            Side::Server => self.target_serves(mix, numbers.clone()),
            Side::Client => self.target_asks(mix, numbers.clone()),
        };
        let tally = tally.with_context(|| format!("conversations {numbers:?} of {}", mix.kinds))?;
        let deadline = Instant::now() + SETTLED_WITHIN[usize::from(self.variant.wire)];
        loop {
            let after = self.agent.scrape()?;
            let comparison =
                Comparison::new(&tally, self.variant.target, [&before, &after], self.variant.wire);
            if comparison.is_equal() || Instant::now() > deadline {
                return Ok(Batch { numbers, tally, comparison });
            }
            thread::sleep(POLL);
        }
    }

    /// Ends the agent.
    pub fn end(self) -> Result<()> {
        self.agent.stop().map(drop)
    }

    fn target_serves(&self, mix: Mix, numbers: Range<u64>) -> Result<Tally> {
        let host = if self.wire.is_some() { wire::SERVER } else { Ipv4Addr::LOCALHOST.into() };
        let count = numbers.end - numbers.start;
        let mut command = self.target("serve", mix)?;
        command.args(["--host", &host.to_string(), "--connections", &count.to_string()]);
        let mut target = Background::start(&mut command)?;
        let port = |line: &str| line.strip_prefix("listening on port ")?.parse().ok();
        let port: u16 = target.wait_for("port", STARTED_WITHIN, port)?;
        let asking = parties::ask(SocketAddr::new(host, port), mix, numbers, self.at_once());
        let asked = self.play(self.runtime.spawn(asking));
        agreed(asked, target)
    }

    fn target_asks(&self, mix: Mix, numbers: Range<u64>) -> Result<Tally> {
        let host = if self.wire.is_some() { CLIENT } else { Ipv4Addr::LOCALHOST.into() };
        // In a task, because it is to be in the runtime's namespace.
        let listening = self.runtime.spawn(TcpListener::bind((host, 0)));
        let listener =
            self.runtime.block_on(listening).context("the task panicked")?.context("cannot listen")?;
        let address = listener.local_addr().context("cannot read the port")?;
        let mut command = self.target("ask", mix)?;
        command.args(["--server", &address.to_string(), "--at-once", &self.at_once().to_string()]);
        command.args(["--first", &numbers.start.to_string()]);
        command.args(["--connections", &(numbers.end - numbers.start).to_string()]);
        let serving = self.runtime.spawn(parties::serve(listener, mix, numbers.end - numbers.start));
        let target = Background::start(&mut command)?;
        let served = self.play(serving);
        agreed(served, target)
    }

    /// This package's program that is the target, in its cgroup and on its side of the wire.
    fn target(&self, role: &str, mix: Mix) -> Result<Command> {
        let program = own_program("random")?;
        let mut command = match &self.wire {
            Some(wire) => {
                wire.server_command(&self.cgroup, program.to_str().context("the path is not UTF-8")?)
            }
            None => self.cgroup.command(program),
        };
        command.args([role, "--seed", &mix.seed.to_string(), "--kinds", &mix.kinds.to_string()]);
        command.args(["--skip", &mix.turns.0.to_string(), "--turns", &mix.turns.1.to_string()]);
        Ok(command)
    }

    fn at_once(&self) -> usize {
        AT_ONCE[usize::from(self.variant.wire)]
    }

    fn play(&self, party: JoinHandle<Result<Tally>>) -> Result<Tally> {
        self.runtime.block_on(async {
            let stop = party.abort_handle();
            let played = tokio::time::timeout(PLAYED_WITHIN, party).await;
            stop.abort();
            played.context("it takes too long")?.context("our side panicked")?
        })
    }
}

/// What both sides say, which must be the same.
fn agreed(ours: Result<Tally>, target: Background) -> Result<Tally> {
    // A target whose other side has failed would wait in vain.
    let limit = if ours.is_ok() { STARTED_WITHIN } else { Duration::from_secs(1) };
    let theirs = target.finish(limit).and_then(|ended| {
        let line = ended.output.lines().find_map(|line| line.strip_prefix("tally "));
        let line = line.with_context(|| format!("the target ({}) wrote: {}", ended.status, ended.output))?;
        serde_json::from_str::<Tally>(line).context("not a tally")
    });
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            ensure!(ours == theirs, "both sides have played to the end, and tell different things");
            Ok(ours)
        }
        (Ok(_), Err(theirs)) => Err(theirs),
        (Err(ours), Ok(_)) => Err(ours),
        (Err(ours), Err(theirs)) => Err(anyhow!("{ours:#}; {theirs:#}")),
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exchanges that were made.
    pub exchanges: u64,
    /// Those that are said to be lost.
    pub lost: u64,
    /// The batches that differ.
    pub different: Vec<Batch>,
}

/// Makes at least so many exchanges, from the conversation `first` on; ends when that many batches differ.
pub fn run(variant: Variant, mix: Mix, first: u64, exchanges: u64, most_different: usize) -> Result<Outcome> {
    let stage = Stage::new(variant)?;
    let mut outcome = Outcome { exchanges: 0, lost: 0, different: Vec::new() };
    let mut next = first;
    while outcome.exchanges < exchanges && outcome.different.len() < most_different {
        let batch = stage.batch(mix, next..next + BATCH)?;
        next = batch.numbers.end;
        outcome.exchanges += batch.tally.exchanges();
        outcome.lost += batch.comparison.lost;
        if !batch.comparison.is_equal() {
            outcome.different.push(batch);
        }
    }
    stage.end()?;
    Ok(outcome)
}
