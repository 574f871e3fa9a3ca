//! One run of the agent: takes the port, loads the kernel half, attaches, serves, and takes it all back.
//! In the order in which things may fail, so that nothing is attached by an agent that cannot serve.

mod memory;
mod nodejs;
pub mod reference;
mod sources;

use std::{future, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::{self, JoinSet},
    time,
};

use self::sources::Observed;
use crate::{
    cgroup::{Hierarchy, mounts::CgroupMounts},
    collectors::{
        held_targets::HeldTargets,
        nodejs::{NodeJsCollector, most_of_target},
        overflow::LabelOverflow,
        tcp,
    },
    config::Config,
    confine,
    exchanges::{Exchanges, FromKernel},
    kernel::{
        self, Kernel, Loaded, Options,
        probe::{self, Verdict},
    },
    probing::{Follower, Refused},
    profiles::Profiles,
    reading::Readers,
    server::{self, Endpoint, Readiness, Sources},
    targets::{self, Handle, Inventory, TargetList},
};

/// The host's /proc.
const PROC: &str = "/proc";
/// Notices of cgroups that may wait for the inventory; past it, it looks at everything instead.
const CGROUP_EVENTS: usize = 4096;
/// Processes that may wait for the one who probes them; what does not fit is found by the next look.
const STARTED_PROCESSES: usize = 1024;
/// How often connections whose end was not seen are found, where there is not much room for others.
const RECOUNT: Duration = Duration::from_secs(10);
/// How often readiness is looked at until it is there.
const READINESS_STEP: Duration = Duration::from_millis(20);

/// The part of the configuration that says what to observe.
pub fn target_settings(config: &Config) -> targets::Settings {
    targets::Settings {
        selectors: config.targets.select.clone(),
        profile_files: config.profiles.files.clone(),
        docker_socket: config.docker.socket().map(Path::to_owned),
        linger: config.targets.linger,
        rescan: config.targets.rescan,
        proc_root: PROC.into(),
    }
}

/// Runs until SIGTERM or SIGINT. `kernel_log`: also logs what the kernel half says of itself.
/// `readers` read what may not answer.
pub async fn run(config: &Config, kernel_log: bool, readers: Readers) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let endpoint = Endpoint::open(config).await?;
    require_host()?;
    let hierarchy = Hierarchy::find(Path::new(PROC))?;
    let profiles = Profiles::load(&config.profiles.files)?;
    let mounts = Arc::new(CgroupMounts::read(hierarchy.clone(), Path::new(PROC))?);
    let options = options(config, &mounts, kernel_log);
    let Loaded { kernel, ring, exchanges: exchange_ring, started, log } =
        Kernel::load(options, hierarchy.clone())?;
    let kernel = Arc::new(kernel);
    for state in kernel.program_states().iter().filter(|state| !state.attached) {
        tracing::warn!(
            program = state.name,
            reason = state.reason,
            "this kernel refuses a program; see `observer check`"
        );
    }
    let (inventory, handle) = Inventory::new(target_settings(config), Arc::clone(&kernel))?;
    let (to_inventory, events) = mpsc::channel(CGROUP_EVENTS);
    let notified =
        kernel.program_states().iter().any(|state| state.name == "cgroup_created" && state.attached);
    let records = ring.records();
    let mut reading = JoinSet::new();
    if notified {
        reading.spawn(ring.run(to_inventory));
    } else {
        // Closed, it tells the inventory to look for itself more often.
        drop(to_inventory);
    }
    if let Some(log) = log {
        reading.spawn(log.run());
    }

    let overflow = LabelOverflow::default();
    let source = FromKernel { kernel: Arc::clone(&kernel), ring: Arc::clone(&exchange_ring) };
    let settings = sources::exchange_settings(config, profiles.clone(), overflow.clone(), records.clone());
    let exchanges = Arc::new(Exchanges::new(Arc::new(handle.clone()), source, settings));
    let taken_in = Arc::clone(&exchanges);
    reading.spawn(exchange_ring.run(move || taken_in.take_in()));
    let held = Arc::new(HeldTargets::new(Arc::new(handle.clone())));
    let targets: Arc<dyn TargetList> = Arc::clone(&held) as _;
    let nodejs = config.nodejs.enabled.then(|| {
        let settings = nodejs::settings(&config.limits, readers.clone());
        let runtimes = Arc::clone(&kernel) as _;
        NodeJsCollector::new(Arc::clone(&targets), runtimes, PROC.into(), overflow.clone(), settings)
    });
    let mut refused = Refused::default();
    if let Some(collector) = &nodejs {
        let follower = Follower::new(Arc::clone(&kernel), PROC.into(), readers.clone());
        refused = follower.refused();
        let (to_follower, starts) = mpsc::channel(STARTED_PROCESSES);
        reading.spawn(started.run(to_follower));
        let runtimes =
            nodejs::Following { follower, collector: collector.clone(), hierarchy: hierarchy.clone() };
        reading.spawn(runtimes.run(handle.clone(), starts, config.targets.rescan));
    }
    reading.spawn(recount(Arc::clone(&kernel)));
    let observed =
        Observed { kernel, mounts, records, exchanges, nodejs, refused, profiles, targets, overflow };
    let scraper = sources::scraper(config, observed, readers).holding(held);
    let readiness = Readiness::waiting("the first look for targets is not done");
    tokio::spawn(watch_readiness(handle.clone(), readiness.clone()));
    let scrape = move || {
        let text = scraper.scrape();
        // A scrape of many targets needs more than the agent keeps, and the next one is seconds away.
        kernel::memory::give_back();
        text
    };
    let sources = Sources { scrape: Arc::new(scrape), targets: Arc::new(handle), readiness };
    if let Err(error) = confine::refuse_system_calls() {
        tracing::warn!(error = format!("{error:#}"), "system calls are not filtered; everything else works");
    }
    tracing::info!(url = %endpoint, "listening");
    let working = async {
        tokio::join!(
            server::serve(endpoint, &config.server, sources, stopped(stop.clone())),
            inventory.run(events, stopped(stop.clone())),
        )
    };
    tokio::select! {
        (served, ()) = working => served?,
        result = fails(reading) => result?,
    }
    tracing::info!("stopped; nothing is attached any more");
    Ok(())
}

/// What the kernel half is loaded with.
fn options(config: &Config, mounts: &CgroupMounts, log: bool) -> Options {
    let limit = memory::limit(mounts, Path::new(PROC));
    let followed_connections = memory::followed_connections(config.limits.http_connections, limit);
    if let Some(limit) = limit {
        tracing::info!(
            limit,
            followed_connections,
            "the agent's memory is limited, and so is what it follows"
        );
    }
    Options {
        ring_bytes: config.limits.ring_bytes,
        exchange_ring_bytes: config.limits.exchange_ring_bytes,
        stall_ns: u64::try_from(config.streams.stall.as_nanos()).unwrap_or(u64::MAX),
        peers: config.limits.peers,
        peers_of_target: tcp::most_of_target(config.limits.peers),
        nodejs_processes: config.limits.nodejs_processes,
        nodejs_processes_of_target: most_of_target(config.limits.nodejs_processes),
        followed_connections,
        log,
    }
}

/// Keeps the number of connections that may be followed right. Ends only with an error.
async fn recount(kernel: Arc<Kernel>) -> anyhow::Result<()> {
    loop {
        time::sleep(RECOUNT).await;
        let kernel = Arc::clone(&kernel);
        task::spawn_blocking(move || kernel.counts().recount_followed()).await??;
    }
}

/// Ends only with an error: a ring that is no longer read loses records without counting them.
async fn fails(mut reading: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = reading.join_next().await {
        ended.context("a reader of the kernel half's rings panicked")??;
    }
    future::pending().await
}

/// Fails with everything that this host lacks, before anything is loaded.
fn require_host() -> anyhow::Result<()> {
    let findings = probe::host(Path::new(PROC));
    let lacks: Vec<String> = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Fail)
        .map(|finding| format!("{}: {}; {}", finding.subject, finding.found, finding.mend))
        .collect();
    if !lacks.is_empty() {
        bail!("this host cannot run observer (`observer check` shows all):\n  {}", lacks.join("\n  "));
    }
    Ok(())
}

async fn watch_readiness(handle: Handle, readiness: Readiness) {
    while !handle.ready() {
        time::sleep(READINESS_STEP).await;
    }
    readiness.set_ready();
}

/// Becomes true with the first SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
    });
    Ok(stopped)
}

/// Completes when the agent is to stop.
async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, which it is only once it has sent.
    stop.wait_for(|stop| *stop).await.ok();
}
