//! The benchmark, as `cargo xtask bench` starts it: a line of JSON per figure, then the table on standard error.
//! Exit code 1 only if something failed: a figure over its budget is a result.

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use tests::{
    bench::{GROUPS, Setup, check_names, is_chosen, machine, objects::Object, report},
    process::is_root,
};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
};

/// What the observer costs.
#[derive(Parser)]
struct Arguments {
    /// Figures or groups of figures; without any, all are measured.
    figures: Vec<String>,
    /// Also write the document with all figures.
    #[arg(long, value_name = "FILE", conflicts_with = "figures")]
    write: Option<PathBuf>,
    /// The object with the programs that do nothing.
    #[arg(long, value_name = "FILE")]
    empty_object: PathBuf,
    /// The object with the programs that do what none can do without.
    #[arg(long, value_name = "FILE")]
    floor_object: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match bench().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> Result<()> {
    let arguments = Arguments::parse();
    check_names(&arguments.figures)?;
    if !is_root() {
        bail!("the benchmark needs root to make cgroups and to load eBPF programs; run it with sudo");
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let setup = Setup {
        empty: Object::empty(arguments.empty_object.clone()),
        floor: Object::floor(arguments.floor_object.clone()),
        interrupted: Arc::clone(&interrupted),
    };
    tokio::spawn(async move {
        select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        eprintln!("stopping after this run");
        interrupted.store(true, Ordering::Relaxed);
    });
    tokio::task::spawn_blocking(move || measure(&arguments, &setup))
        .await
        .context("the benchmark panicked")?
}

/// Measures and prints what was chosen.
fn measure(arguments: &Arguments, setup: &Setup) -> Result<()> {
    let mut all = Vec::new();
    for group in GROUPS {
        if !group.figures.iter().any(|figure| is_chosen(&arguments.figures, group, figure)) {
            continue;
        }
        eprintln!("measuring {}", group.name);
        let measured = (group.measure)(setup).with_context(|| format!("cannot measure {}", group.name))?;
        for measured in measured {
            if is_chosen(&arguments.figures, group, measured.figure) {
                println!("{}", measured.json().context("cannot write a line of JSON")?);
                all.push(measured);
            }
        }
    }
    eprint!("\n{}", report::table(&all));
    if let Some(file) = &arguments.write {
        let (day, machine) = (machine::today(), machine::describe());
        let document = report::document(&all, "cargo xtask bench --write", &day, &machine);
        fs::write(file, document).with_context(|| format!("cannot write {}", file.display()))?;
        eprintln!("wrote {}", file.display());
    }
    Ok(())
}
