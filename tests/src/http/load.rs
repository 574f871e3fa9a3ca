//! Many requests over some connections, each asked when the one before it was answered.
//! What happened is in the ledger that comes back.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use fastrand::Rng;
use tokio::{runtime::Runtime, task::JoinSet};

use super::{
    client::Connection,
    kinds::{self, Kind},
    ledger::Ledger,
};

/// What is to happen.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The server.
    pub server: SocketAddr,
    /// What is asked.
    pub kinds: &'static [Kind],
    /// How often, all in all.
    pub requests: usize,
    /// Over how many connections at once.
    pub connections: usize,
    /// Requests after which the client closes a connection and opens another; none keeps them.
    pub renewed_after: Option<usize>,
    /// Seed of everything random.
    pub seed: u64,
}

/// Plays the load in tasks of `runtime`.
pub fn play(runtime: &Runtime, load: Load) -> Result<Ledger> {
    let playing = runtime.spawn(run(load));
    runtime.block_on(playing).context("the load panicked")?
}

/// Plays the load.
pub async fn run(load: Load) -> Result<Ledger> {
    let left = Arc::new(AtomicUsize::new(load.requests));
    let mut workers = JoinSet::new();
    for number in 0..load.connections {
        let rng = Rng::with_seed(load.seed + number as u64);
        workers.spawn(work(load, Arc::clone(&left), rng));
    }
    let mut ledger = Ledger::default();
    while let Some(ended) = workers.join_next().await {
        ledger.add(ended.context("a client panicked")??);
    }
    Ok(ledger)
}

/// One connection after the other, until nothing is left to ask.
async fn work(load: Load, left: Arc<AtomicUsize>, mut rng: Rng) -> Result<Ledger> {
    let mut ledger = Ledger::default();
    let take = |left: usize| left.checked_sub(1);
    let mut connection: Option<(Connection, usize)> = None;
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        let kind = kinds::choose(load.kinds, &mut rng).context("a load needs kinds of requests")?;
        let request = kind.request(&mut rng);
        let (mut open, used) = match connection.take() {
            Some(open) => open,
            None => (Connection::open(load.server).await?, 0),
        };
        let answer = open.exchange(&request).await?;
        ledger.enter(kind.method, kind.route, &request.target, request.body as u64, &answer);
        if !answer.last && load.renewed_after.is_none_or(|most| used + 1 < most) {
            connection = Some((open, used + 1));
        }
    }
    Ok(ledger)
}
