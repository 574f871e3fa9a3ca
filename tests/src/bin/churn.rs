//! Containers that come and go, as `cargo xtask churn` starts it: tables of what happened and what the agent holds.
//! Exit code 1 if one was missed or anything stayed.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Parser;
use tests::{
    bench::machine,
    churn::{self, Plan},
    process::is_root,
};

/// Containers that come and go.
#[derive(Parser)]
struct Arguments {
    /// All of them.
    #[arg(long, value_name = "N")]
    containers: usize,
    /// Of them, those that a real Docker starts; the others are cgroups with a process.
    #[arg(long, value_name = "N")]
    docker: usize,
    /// In which time.
    #[arg(long, value_name = "N")]
    seconds: u64,
    /// Also write the document.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    match churn(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn churn(arguments: &Arguments) -> Result<()> {
    if !is_root() {
        bail!("this needs root to make cgroups and to load eBPF programs; run it with sudo");
    }
    let Arguments { containers, docker, seconds, write } = arguments;
    let cgroups = containers.checked_sub(*docker).context("--docker is more than --containers")?;
    let outcome = churn::run(Plan { cgroups, containers: *docker, within: Duration::from_secs(*seconds) })?;
    print!("{}", churn::report::table(&outcome));
    if let Some(file) = write {
        let command = format!(
            "cargo xtask churn --containers {containers} --docker {docker} --seconds {seconds} --write"
        );
        let document = churn::report::document(&outcome, &command, &machine::today(), &machine::describe());
        fs::write(file, document).with_context(|| format!("cannot write {}", file.display()))?;
    }
    outcome.require()
}
