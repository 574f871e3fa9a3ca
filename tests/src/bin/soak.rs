//! The soak, as `cargo xtask soak` starts it: a table of what was wanted and what came out.
//! Exit code 1 if anything is not as wanted.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Parser;
use tests::{bench::machine, process::is_root, soak};

/// A long run at an even load.
#[derive(Parser)]
struct Arguments {
    /// How long the load lasts.
    #[arg(long, value_name = "N")]
    minutes: u32,
    /// Also write the document.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Let it pass that fewer exchanges were made, or that scrapes took long: the machine does other things, too.
    #[arg(long, conflicts_with = "write")]
    any_pace: bool,
}

fn main() -> ExitCode {
    match soak(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn soak(arguments: &Arguments) -> Result<()> {
    if !is_root() {
        bail!("the soak needs root to make cgroups and to load eBPF programs; run it with sudo");
    }
    let outcome = soak::run(Duration::from_mins(arguments.minutes.into()))?;
    print!("{}", soak::report::table(&outcome));
    if let Some(file) = &arguments.write {
        let command = format!("cargo xtask soak --minutes {} --write", arguments.minutes);
        let document = soak::report::document(&outcome, &command, &machine::today(), &machine::describe());
        fs::write(file, document).with_context(|| format!("cannot write {}", file.display()))?;
    }
    outcome.require_nothing_lost()?;
    if arguments.any_pace { Ok(()) } else { outcome.require_pace() }
}
