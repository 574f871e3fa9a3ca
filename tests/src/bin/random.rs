//! Random exchanges against the agent for long, as `cargo xtask random` starts it; and the target of such a run.
//! Exit code 1 if anything differs; what it prints then shows the same again.

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use tests::{
    process::is_root,
    random::{
        conversation::Mix,
        kinds::Kinds,
        narrow::narrow,
        parties,
        run::{self, Stage, Variant},
        tally::Tally,
    },
};
use tokio::{net::TcpListener, runtime::Builder};

/// Random exchanges.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Play against an agent, and compare.
    Run(Run),
    /// Be a target that serves.
    Serve {
        #[command(flatten)]
        mix: MixArguments,
        /// Where to listen.
        #[arg(long)]
        host: IpAddr,
        /// How many connections come.
        #[arg(long)]
        connections: u64,
    },
    /// Be a target that asks.
    Ask {
        #[command(flatten)]
        mix: MixArguments,
        /// Whom to ask.
        #[arg(long)]
        server: SocketAddr,
        /// The first conversation.
        #[arg(long)]
        first: u64,
        /// How many there are.
        #[arg(long)]
        connections: u64,
        /// How many at once.
        #[arg(long)]
        at_once: usize,
    },
}

/// What conversations are made from.
#[derive(Args)]
struct MixArguments {
    /// Of all that is random; without one, any.
    #[arg(long, value_name = "S", default_value_t = fastrand::u64(1..1_000_000_000))]
    seed: u64,
    /// Kinds of traffic: `all`, or for example `plain,pipeline=3`, or `-flood`.
    #[arg(long, default_value = "all", allow_hyphen_values = true)]
    kinds: Kinds,
    /// Leave out so many turns of each conversation.
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// End each conversation behind this turn.
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    turns: usize,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    mix: MixArguments,
    /// All exchanges, of all variants together.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    exchanges: u64,
    /// Where; without any, everywhere.
    #[arg(long)]
    variant: Vec<Variant>,
    /// The first conversation.
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// So many conversations, in place of a number of exchanges.
    #[arg(long, value_name = "N")]
    connections: Option<u64>,
    /// For how many seconds a difference is narrowed down.
    #[arg(long, value_name = "N", default_value_t = 300)]
    narrow: u64,
}

impl From<&MixArguments> for Mix {
    fn from(arguments: &MixArguments) -> Self {
        let MixArguments { seed, kinds, skip, turns } = *arguments;
        Self { seed, kinds, turns: (skip, turns) }
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().role {
        Role::Run(arguments) => play(&arguments),
        Role::Serve { mix, host, connections } => serve((&mix).into(), host, connections),
        Role::Ask { mix, server, first, connections, at_once } => {
            tell(parties::ask(server, (&mix).into(), first..first + connections, at_once))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(mix: Mix, host: IpAddr, connections: u64) -> Result<()> {
    tell(async move {
        let listener = TcpListener::bind((host, 0)).await.context("cannot listen")?;
        println!("listening on port {}", listener.local_addr().context("cannot read the port")?.port());
        parties::serve(listener, mix, connections).await
    })
}

/// Plays a target, and writes what it has asked or answered.
fn tell(party: impl Future<Output = Result<Tally>>) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
    let tally = runtime.block_on(party)?;
    println!("tally {}", serde_json::to_string(&tally)?);
    Ok(())
}

fn play(arguments: &Run) -> Result<()> {
    if !is_root() {
        bail!("this needs root to make cgroups and to load eBPF programs; run it with sudo");
    }
    let mix = Mix::from(&arguments.mix);
    println!("seed {}, kinds {}", mix.seed, mix.kinds);
    let variants = if arguments.variant.is_empty() { &Variant::ALL[..] } else { &arguments.variant };
    let mut different = 0;
    for &variant in variants {
        let begun = Instant::now();
        let outcome = match arguments.connections {
            Some(connections) => exactly(variant, mix, arguments.first, connections)?,
            None => run::run(
                variant,
                mix,
                arguments.first,
                arguments.exchanges.div_ceil(variants.len() as u64),
                1,
            )?,
        };
        let run::Outcome { exchanges, lost, .. } = &outcome;
        println!("{variant}: {exchanges} exchanges in {:.0?}, {lost} lost", begun.elapsed());
        for batch in &outcome.different {
            different += 1;
            println!("{}", batch.comparison);
            if arguments.narrow > 0 {
                println!("{}", narrow(variant, mix, batch, Duration::from_secs(arguments.narrow))?);
            }
        }
    }
    if different > 0 {
        bail!("the metrics differ from what was asked, with the seed {}", mix.seed);
    }
    Ok(())
}

/// One batch of so many conversations.
fn exactly(variant: Variant, mix: Mix, first: u64, connections: u64) -> Result<run::Outcome> {
    let stage = Stage::new(variant)?;
    let batch = stage.batch(mix, first..first + connections)?;
    stage.end()?;
    let (exchanges, lost) = (batch.tally.exchanges(), batch.comparison.lost);
    let different = if batch.comparison.is_equal() { Vec::new() } else { vec![batch] };
    Ok(run::Outcome { exchanges, lost, different })
}
