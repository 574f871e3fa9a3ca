//! The demo, as `cargo xtask demo` starts it.
//! Exit code 0 if the metrics say what the load generator did, 1 if they differ or something failed.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, bail};
use clap::Parser;
use tests::{demo::show::show, process::is_root};

/// A chat service under load, watched by the observer.
#[derive(Parser)]
struct Arguments {
    /// End after this many seconds; without it, Ctrl-C ends the demo.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let limit = Arguments::parse().seconds.map(Duration::from_secs);
    match demo(limit).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(limit: Option<Duration>) -> Result<bool> {
    if !is_root() {
        bail!("the demo needs root to make a cgroup and to load eBPF programs; run it with sudo");
    }
    show(limit).await
}
