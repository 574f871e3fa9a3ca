//! What hosts do to an agent, for long, as `cargo xtask faults` starts it; and the client and the busy process for it.
//! The end-to-end tests do the same for short.

use std::{env, process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use tests::faults::{
    calls::{self, Manner},
    interrupt, kills, pause, rounds,
};
use tokio::{
    runtime::Builder,
    select,
    signal::unix::{SignalKind, signal},
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
            interrupt_by_signal()?;
            let own = env::current_exe().context("cannot find the path of this program")?;
            if stopped > 0 {
                pause::run(&own, Duration::from_secs(stopped))?;
            }
            if kills > 0 {
                kills::run(&own, kills, seed)?.judge_stalls()?;
            }
            Ok(())
        }
        Arguments::Call(manner) => calls::call(manner),
        Arguments::Spin { milliseconds } => rounds::spin(milliseconds),
    }
}

/// Has SIGINT and SIGTERM end the run in order: nothing that it started stays.
fn interrupt_by_signal() -> Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build().context("cannot make a runtime")?;
    let (mut terminate, mut asked) = {
        let _inside = runtime.enter();
        let listen = |kind| signal(kind).context("cannot listen for signals");
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            select! {
                _ = terminate.recv() => {}
                _ = asked.recv() => {}
            }
        });
        interrupt();
    });
    Ok(())
}
