//! Random exchanges of every kind, cut into any segments: per method, route and status asked is counted, without loss on
//! loopback; over a wire that loses and reorders packets asked is counted or lost, and nothing above what was asked. What is known to
//! be missed all the same is printed and bounded; `cargo xtask random` takes it for the difference that it is.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::random::{
    conversation::Mix,
    kinds::Kinds,
    narrow::narrow,
    run::{self, Outcome, Variant},
};

/// Exchanges on loopback of each role, and over a wire.
const EXCHANGES: [u64; 2] = [12_000, 4000];
/// The same with WebSockets.
const WITH_WEBSOCKETS: [u64; 2] = [3000, 1000];
/// Batches that may differ before a run ends.
const DIFFERENT: usize = 8;
/// How long a difference is narrowed down.
const NARROWED_WITHIN: Duration = Duration::from_mins(1);

/// The seed that `OBSERVER_RANDOM_SEED` names, else any.
fn seed() -> u64 {
    let named = std::env::var("OBSERVER_RANDOM_SEED").ok().and_then(|seed| seed.parse().ok());
    named.unwrap_or_else(|| fastrand::u64(1..1_000_000_000))
}

/// The kinds that `OBSERVER_RANDOM_KINDS` names, else these.
fn kinds(usual: Kinds) -> Result<Kinds> {
    std::env::var("OBSERVER_RANDOM_KINDS").map_or(Ok(usual), |kinds| kinds.parse())
}

/// Both roles, on loopback and over a wire.
fn play(kinds: Kinds, exchanges: [u64; 2]) -> Result<()> {
    let mix = Mix::new(seed(), kinds);
    println!("seed {}, kinds {}", mix.seed, mix.kinds);
    let mut wrong = Vec::new();
    for variant in Variant::ALL {
        let exchanges = exchanges[usize::from(variant.wire)];
        let outcome = run::run(variant, mix, 0, exchanges, DIFFERENT)?;
        let Outcome { exchanges, lost, different } = outcome;
        println!("{variant}: {exchanges} exchanges, {lost} lost");
        let (known, unknown): (Vec<_>, Vec<_>) =
            different.iter().partition(|batch| batch.comparison.is_bounded());
        for batch in known {
            println!("known to be missed, in conversations {:?}:\n{}", batch.numbers, batch.comparison);
        }
        for batch in unknown.into_iter().take(1) {
            wrong.push(narrow(variant, mix, batch, NARROWED_WITHIN)?);
        }
    }
    ensure!(wrong.is_empty(), "the metrics differ from what was asked:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_exchange_is_counted_for_what_it_is_or_is_lost() -> Result<()> {
    play(kinds(Kinds::without_websockets())?, EXCHANGES)
}

#[test]
fn the_same_among_websockets_whose_messages_come_in_bursts() -> Result<()> {
    play(kinds(Kinds::all())?, WITH_WEBSOCKETS)
}
