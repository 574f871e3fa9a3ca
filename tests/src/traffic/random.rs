//! Many connections at once, opened, used and ended at random from a seed.
//! How fast they follow each other is the machine's affair; what happened is in the ledgers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use fastrand::Rng;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{client::Client, truth::Truth};
use crate::demo::tally::Reason;

/// After how long the target gives up a connect that it was told to give up.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(150);

/// What is to happen.
#[derive(Clone, Debug)]
pub struct Load {
    /// Addresses of the target, all used.
    pub servers: Vec<SocketAddr>,
    /// Where the target's connects succeed.
    pub sinks: Vec<SocketAddr>,
    /// Where they are refused.
    pub refused: Vec<SocketAddr>,
    /// Where nobody answers and every attempt is given up or ends with the kernel's time limit.
    pub silent: Vec<SocketAddr>,
    /// Where there is no host. Never given up: the target could do so when the kernel has just found that out, and the
    /// two would name different reasons.
    pub absent: Vec<SocketAddr>,
    /// Connections at once.
    pub connections: usize,
    /// How many of them stay open at the end.
    pub held: usize,
    /// For how long new ones are opened.
    pub lasting: Duration,
    /// Seed of everything random.
    pub seed: u64,
}

/// Plays the load; the connections that stay open.
pub async fn run(load: Load, truth: Arc<Truth>) -> Result<Vec<Client>> {
    let until = Instant::now() + load.lasting;
    let load = Arc::new(load);
    let mut workers = JoinSet::new();
    for number in 0..load.connections {
        workers.spawn(work(Arc::clone(&load), Arc::clone(&truth), number, until));
    }
    let mut held = Vec::new();
    while let Some(ended) = workers.join_next().await {
        held.extend(ended.context("a client panicked")??);
    }
    Ok(held)
}

/// One connection after the other; the last one, if it is to stay open.
async fn work(load: Arc<Load>, truth: Arc<Truth>, number: usize, until: Instant) -> Result<Option<Client>> {
    let mut rng = Rng::with_seed(load.seed + number as u64);
    loop {
        let server = *rng.choice(&load.servers).context("a load needs a server")?;
        let mut client = Client::open(server, &truth.inbound).await?;
        for step in 0..rng.usize(1..4) {
            let (up, down) = sizes(&mut rng);
            client.exchange(up, down).await?;
            if rng.u8(..) < 64 {
                call(&load, &truth, &mut client, &format!("{number}-{step}"), &mut rng).await?;
            }
            sleep(Duration::from_millis(rng.u64(..300))).await;
        }
        if Instant::now() > until && number < load.held {
            return Ok(Some(client));
        }
        client.end(any_reason(&mut rng)).await?;
        if Instant::now() > until {
            return Ok(None);
        }
    }
}

/// Makes the target connect to somebody.
async fn call(load: &Load, truth: &Truth, client: &mut Client, name: &str, rng: &mut Rng) -> Result<()> {
    let kind = rng.u8(..16);
    let (to, give_up) = match kind {
        0 => (rng.choice(&load.silent), None),
        1 => (rng.choice(&load.silent), Some(GIVEN_UP_AFTER)),
        2 => (rng.choice(&load.absent), None),
        3..6 => (rng.choice(&load.refused), None),
        _ => (rng.choice(&load.sinks), None),
    };
    let Some(to) = to else { return Ok(()) };
    let answer = client.dial(name, *to, give_up).await?;
    if kind < 6 {
        return truth.failed(&answer);
    }
    anyhow::ensure!(answer == "open", "the target cannot connect to {to}: {answer}");
    for _ in 0..rng.u8(1..3) {
        let (up, down) = sizes(rng);
        client.over(name, up, down).await?;
    }
    client.end_dialed(name, any_reason(rng)).await
}

/// Bytes of a request and its answer: mostly small, some of many segments.
fn sizes(rng: &mut Rng) -> (usize, usize) {
    let mut size = || if rng.u8(..) < 16 { rng.usize(..200_000) } else { rng.usize(..3000) };
    (size(), size())
}

/// How a connection is ended.
fn any_reason(rng: &mut Rng) -> Reason {
    Reason::ALL[rng.usize(..Reason::ALL.len())]
}
