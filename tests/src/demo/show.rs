//! The demonstration: a chat service in a cgroup of its own, under load, watched by the observer.
//! At the end what the load did stands beside what the metrics say. Everything started here ends here.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener},
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    net::TcpListener,
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::{JoinHandle, block_in_place},
    time::{MissedTickBehavior, interval},
};

use super::{
    compare::Comparison,
    counted::CountedListener,
    load::{self, Summary},
    model, table,
    tally::{Ledger, Side},
};
use crate::{
    agent::Agent,
    cgroup::Cgroup,
    process::{Background, own_program},
};

/// Seed of the load: every demo does the same.
const SEED: u64 = 1;

/// Scenarios per second: lively, and a small part of one core.
const RATE: u32 = 40;

/// Connections held open to the end, so that the number of open ones is not just zero.
const HELD: usize = 5;

/// Where the agent listens if nobody else does: its default.
const USUAL_PORT: u16 = 9435;

/// How long the service may take to listen.
const LISTENING_WITHIN: Duration = Duration::from_secs(10);

/// How long the last closes may take to reach the metrics.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// Runs the demo for `limit`, or until Ctrl-C; whether load and metrics agree.
pub async fn show(limit: Option<Duration>) -> Result<bool> {
    let mut signals = Signals::new()?;
    // Dropped last to first: the cgroup goes when its processes are gone.
    let cgroup = Cgroup::create("observer-demo")?;
    let calls = Arc::new(Ledger::new(Side::Peer));
    let (model, _model) = start_model(&calls).await?;
    let mut service = start_service(&cgroup, model)?;
    let address = service.wait_for("an address", LISTENING_WITHIN, listening_address)?;
    println!("demo service at http://{address}/ in {}", cgroup.path().display());
    let mut agent = block_in_place(|| Agent::listening(&free_address(), ["--target", &cgroup.selector()]))?;
    println!("metrics at http://{}/metrics; Ctrl-C ends the demo\n", agent.address());

    let ledger = Arc::new(Ledger::new(Side::Peer));
    let (stop, stopped) = watch::channel(false);
    let options = load::Options { service: address, seed: SEED, rate: RATE, held: HELD };
    let mut load = tokio::spawn(load::run(options, Arc::clone(&ledger), stopped));
    watch_until_end(limit, &mut signals, &mut service, &mut agent, &mut load).await?;
    stop.send_replace(true);
    let summary = select! {
        summary = load => summary.context("the load generator panicked")??,
        () = signals.any() => bail!("interrupted before the load had ended; nothing was compared"),
    };

    // The calls are counted anew each time: those that the service dropped last end a moment later.
    let compare = |metrics: &_| Comparison::new(&summary.tally, &calls.tally(), metrics);
    let metrics = block_in_place(|| agent.scrape_until(SETTLED_WITHIN, |metrics| compare(metrics).equal()))?;
    let comparison = compare(&metrics);
    println!("\n{comparison}");
    report(&summary, &comparison);
    let equal = comparison.equal() && summary.failed == 0;
    drop(summary);
    block_in_place(|| finish(agent, service))?;
    Ok(equal)
}

/// Starts the model server in this process, outside the cgroup that is observed.
async fn start_model(calls: &Arc<Ledger>) -> Result<(SocketAddr, JoinHandle<std::io::Result<()>>)> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the model server cannot listen")?;
    let address = listener.local_addr().context("the model server has no address")?;
    let listener = CountedListener::new(listener, Arc::clone(calls));
    let server = axum::serve(listener, model::router()).into_future();
    Ok((address, tokio::spawn(server)))
}

/// Starts the chat service inside `cgroup`.
fn start_service(cgroup: &Cgroup, model: SocketAddr) -> Result<Background> {
    let mut command = cgroup.command(own_program("demo-chat")?);
    Background::start(command.args(["serve", "--model", &model.to_string()]))
}

/// Prints the table until the demo shall end; an error if something ends before.
async fn watch_until_end(
    limit: Option<Duration>,
    signals: &mut Signals,
    service: &mut Background,
    agent: &mut Agent,
    load: &mut JoinHandle<Result<Summary>>,
) -> Result<()> {
    let start = Instant::now();
    let mut lines = 0;
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, when there is nothing to show.
    tick.tick().await;
    loop {
        select! {
            _ = tick.tick() => {}
            () = signals.any() => return Ok(()),
            ended = &mut *load => {
                ended.context("the load generator panicked")??;
                bail!("the load generator ended by itself");
            }
        }
        for (name, process) in [("service", &mut *service), ("observer", agent.process())] {
            if let Some(status) = process.exited()? {
                bail!("the {name} ended ({status}); it wrote:\n{}", process.output());
            }
        }
        table::print(lines, start.elapsed(), &block_in_place(|| agent.scrape())?);
        lines += 1;
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            return Ok(());
        }
    }
}

/// Says whether all agree, and what the load generator met.
fn report(summary: &Summary, comparison: &Comparison) {
    for error in &summary.errors {
        println!("a scenario failed: {error}");
    }
    let scenarios: u64 = summary.scenarios.values().sum();
    match (summary.failed, comparison.equal()) {
        (0, true) => println!("{scenarios} scenarios; the metrics say exactly what the load generator did"),
        (0, false) => println!("{scenarios} scenarios; the metrics DIFFER from what the load generator did"),
        (failed, _) => println!("{failed} of {scenarios} scenarios failed, so what was done is not certain"),
    }
}

/// Ends agent and service; an agent that does not end well is an error.
fn finish(agent: Agent, service: Background) -> Result<()> {
    let status: ExitStatus = agent.stop()?;
    if !status.success() {
        bail!("the observer ended with {status} after SIGTERM");
    }
    service.stop().map(drop)
}

/// The agent's usual address if it is free, else any.
fn free_address() -> String {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, USUAL_PORT));
    match StdTcpListener::bind(usual) {
        Ok(_) => usual.to_string(),
        Err(_) => "127.0.0.1:0".to_owned(),
    }
}

/// The address in the line `listening 127.0.0.1:4711` of the service.
fn listening_address(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening ")?.parse().ok()
}

/// The signals that end a program.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    /// Waits for any of them.
    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
