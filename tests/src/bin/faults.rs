//! What hosts do to an agent, for long, as `cargo xtask faults` starts it; and the client and the busy process for it.
//! The end-to-end tests do the same for short.

use std::{env, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use tests::faults::{
    calls::{self, Manner},
    kills, pause, rounds,
};

/// What hosts do to an agent.
#[derive(Parser)]
enum Arguments {
    /// Kill agents, and stop one.
    Run {
        /// How many are killed; 0 leaves that out.
        #[arg(long, default_value_t = 200)]
        kills: u32,
        /// For how many seconds one is stopped; 0 leaves that out.
        #[arg(long, default_value_t = 60)]
        stopped: u64,
        /// Of the moments at which they are killed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Call a server until the input ends.
    Call(Manner),
    /// Use so many milliseconds of CPU time.
    Spin { milliseconds: u64 },
}

fn main() -> ExitCode {
    match faults(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn faults(arguments: &Arguments) -> Result<()> {
    match *arguments {
        Arguments::Run { kills, stopped, seed } => {
            let own = env::current_exe().context("cannot find the path of this program")?;
            if stopped > 0 {
                pause::run(&own, Duration::from_secs(stopped))?;
            }
            if kills > 0 {
                kills::run(&own, kills, seed)?;
            }
            Ok(())
        }
        Arguments::Call(manner) => calls::call(manner),
        Arguments::Spin { milliseconds } => rounds::spin(milliseconds),
    }
}
