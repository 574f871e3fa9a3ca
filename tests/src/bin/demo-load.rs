//! The load generator by itself, against a demo chat service that runs somewhere.
//! Prints what it did as one line of JSON; the connections it holds are counted as open there.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use tests::demo::{
    load::{Options, run},
    tally::{Ledger, Side},
};
use tokio::{select, signal::ctrl_c, sync::watch, time::sleep};

/// Load for the demo chat service.
#[derive(Parser)]
struct Arguments {
    /// Address of the service.
    service: SocketAddr,
    /// How long to play.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Scenarios started per second.
    #[arg(long, default_value_t = 40)]
    rate: u32,
    /// Connections opened first and held to the end.
    #[arg(long, default_value_t = 0)]
    held: usize,
    /// Seed of the random choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match play(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Plays and prints; whether every scenario went as it should.
async fn play(arguments: Arguments) -> Result<bool> {
    let Arguments { service, seconds, rate, held, seed } = arguments;
    let (stop, stopped) = watch::channel(false);
    let load =
        tokio::spawn(run(Options { service, seed, rate, held }, Arc::new(Ledger::new(Side::Peer)), stopped));
    select! {
        () = sleep(Duration::from_secs(seconds)) => {}
        interrupted = ctrl_c() => interrupted.context("cannot listen for Ctrl-C")?,
    }
    stop.send_replace(true);
    let summary = load.await.context("the load generator panicked")??;
    println!("{}", serde_json::to_string(&summary).context("cannot write the summary")?);
    Ok(summary.failed == 0)
}
