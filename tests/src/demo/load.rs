//! The load generator: plays scenarios at a bounded rate and knows afterwards what it did.
//! The same seed gives the same sequence of scenarios.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use fastrand::Rng;
use serde::Serialize;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    client::Connection,
    scenario::Scenario,
    tally::{Ledger, Tally},
};

/// How many connections are in use at once at most; the start of another waits.
const AT_ONCE: usize = 64;

/// How long one scenario may take; none of them pauses by itself.
const SCENARIO_WITHIN: Duration = Duration::from_secs(20);

/// How many errors are kept with their text.
const ERRORS_KEPT: usize = 10;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The service.
    pub service: SocketAddr,
    /// Of the random choices.
    pub seed: u64,
    /// Scenarios started per second.
    pub rate: u32,
    /// Connections that are opened first and stay open to the end.
    pub held: usize,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// How often each scenario was played.
    pub scenarios: BTreeMap<&'static str, u64>,
    /// How many scenarios failed; the tally is certain only where none did.
    pub failed: u64,
    /// What the first of them met.
    pub errors: Vec<String>,
    /// The connections, with the held ones open.
    pub tally: Tally,
    /// The connections that are still open; dropping them closes them.
    #[serde(skip)]
    pub held: Vec<Connection>,
}

/// Plays scenarios until `stop` says true, then lets those that run come to their end.
pub async fn run(options: Options, ledger: Arc<Ledger>, mut stop: watch::Receiver<bool>) -> Result<Summary> {
    let mut held = Vec::new();
    for _ in 0..options.held {
        let mut connection = Connection::open(options.service, &ledger).await?;
        connection.exchange("GET", "/health", &[], &[]).await.context("a connection that is to be held")?;
        held.push(connection);
    }
    let mut random = Rng::with_seed(options.seed);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut playing = JoinSet::new();
    let mut summary =
        Summary { scenarios: BTreeMap::new(), failed: 0, errors: Vec::new(), tally: Tally::default(), held };
    let mut tick = interval(Duration::from_secs(1) / options.rate.max(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stopped = stop.wait_for(|stop| *stop);
    tokio::pin!(stopped);
    loop {
        let place = tokio::select! {
            // Whoever would say stop is gone: that is a stop too.
            _ = &mut stopped => break,
            place = async { tick.tick().await; Arc::clone(&places).acquire_owned().await } => place?,
        };
        let (scenario, name) = Scenario::choose(&mut random);
        let (own_random, ledger, service) = (random.fork(), Arc::clone(&ledger), options.service);
        *summary.scenarios.entry(name).or_default() += 1;
        playing.spawn(async move {
            let _place = place;
            timeout(SCENARIO_WITHIN, scenario.play(service, &ledger, own_random))
                .await
                .with_context(|| format!("took over {SCENARIO_WITHIN:?}"))
                .flatten()
                .context(name)
        });
        while let Some(ended) = playing.try_join_next() {
            note(&mut summary, ended?);
        }
    }
    while let Some(ended) = playing.join_next().await {
        note(&mut summary, ended?);
    }
    summary.tally = ledger.tally();
    Ok(summary)
}

fn note(summary: &mut Summary, result: Result<()>) {
    if let Err(error) = result {
        summary.failed += 1;
        if summary.errors.len() < ERRORS_KEPT {
            summary.errors.push(format!("{error:#}"));
        }
    }
}
