//! The project's own commands, one file per command; `cargo xtask help` lists them.
//! What several of them need is in `workspace`, `step`, `toolchain`, `packages`, `apt`, `python`, `apps`, `nodejs`, `musl` and `linker`.

mod apps;
mod apt;
mod bench;
mod build;
mod check;
mod churn;
mod demo;
mod deny;
mod faults;
mod fuzz;
mod kernels;
mod linker;
mod metrics_doc;
mod musl;
mod nodejs;
mod packages;
mod python;
mod random;
mod run;
mod setup;
mod soak;
mod stack;
mod step;
mod test;
mod toolchain;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

/// Builds, shows and tests observer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the build needs and is missing, and say which eBPF toolchain is used.
    Setup {
        /// Also install the programs that the end-to-end tests start.
        #[arg(long)]
        tests: bool,
    },
    /// Build the kernel object and the agent with the object inside it.
    Build,
    /// Build the agent and start it with the arguments after `--`.
    Run {
        /// Arguments of `observer`, for example `check` or `run --target container:lobe*`.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Watch a demo chat service under load, live; ends with Ctrl-C.
    Demo {
        /// End after this many seconds.
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
    },
    /// Run every test: unit tests, then end to end in cgroups and containers.
    Test,
    /// Measure what observing costs: a line of JSON per figure, then a table.
    Bench {
        /// Figures or groups of figures; without any, all are measured (about six minutes).
        figures: Vec<String>,
        /// Also write docs/benchmark.md.
        #[arg(long, conflicts_with = "figures")]
        write: bool,
    },
    /// Kill agents under full load and stop one, for long (about ten minutes); the tests do it for short.
    Faults {
        /// How many are killed; 0 leaves that out.
        #[arg(long, value_name = "N", default_value_t = 200)]
        kills: u32,
        /// For how many seconds one is stopped; 0 leaves that out.
        #[arg(long, value_name = "N", default_value_t = 60)]
        stopped: u64,
    },
    /// Load two targets evenly for long, and see that memory stays flat and nothing is lost.
    Soak {
        /// How long.
        #[arg(long, value_name = "N", default_value_t = 120)]
        minutes: u32,
        /// Also write docs/soak.md.
        #[arg(long)]
        write: bool,
    },
    /// Start and end many containers, and see that each is counted and leaves nothing behind in the agent.
    Churn {
        /// All of them.
        #[arg(long, value_name = "N", default_value_t = 1000)]
        containers: u32,
        /// Of them, those that a real Docker starts; the others are cgroups with a process.
        #[arg(long, value_name = "N", default_value_t = 50)]
        docker: u32,
        /// In which time.
        #[arg(long, value_name = "N", default_value_t = 600)]
        seconds: u32,
        /// Also write docs/churn.md.
        #[arg(long)]
        write: bool,
    },
    /// Play random exchanges on loopback and over a bad wire, in both roles, and hold the metrics against them.
    Random {
        /// All of them.
        #[arg(long, value_name = "N", default_value_t = 1_000_000)]
        exchanges: u64,
        /// Of all that is random; without one, any.
        #[arg(long, value_name = "S")]
        seed: Option<u64>,
        /// What a failed run prints to show the same again: `--variant`, `--kinds`, `--first`, `--connections`, …
        #[arg(last = true)]
        more: Vec<OsString>,
    },
    /// Give arbitrary bytes to all that reads bytes from outside; any finding ends it and is left in the folder
    /// artifacts of observer/fuzz or observer-ebpf/fuzz.
    Fuzz {
        /// Targets; without any, all (over an hour).
        targets: Vec<String>,
        /// How long each of them.
        #[arg(long, value_name = "N", default_value_t = 300)]
        seconds: u64,
        /// Add what reaches more of the code to the kept corpus, and minimise that.
        #[arg(long)]
        keep: bool,
    },
    /// Format, lints for both halves, licences of crates, unit tests and generated documents.
    Check {
        /// Also run the end-to-end tests.
        #[arg(long)]
        end_to_end: bool,
    },
    /// Boot Debian's kernels in an emulator and test on each; needs no root (about a quarter of an hour for all).
    Kernels {
        /// For example `6.1`; without any, all of 5.10, 6.1, 6.12, 6.17 and 7.2.
        versions: Vec<String>,
        /// How often the agent is started to see whether anything stays; of the time a guest takes, most goes there.
        #[arg(long, value_name = "N", default_value_t = 50)]
        starts: u32,
        /// Also write the tables of docs/kernels.md.
        #[arg(long, conflicts_with = "versions")]
        write: bool,
        /// Instead, try Docker containers with limits, kills and restarts, on 6.12 if no version is named.
        #[arg(long, conflicts_with_all = ["write", "starts"])]
        full: bool,
    },
    /// Write docs/metrics.md from the agent's own reference.
    MetricsDoc {
        /// Only compare, and fail where the file is out of date.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup { tests } => setup::setup(tests).map(drop),
        Command::Build => {
            setup::setup(false).and_then(|toolchain| build::build(&toolchain, &["observer"]).map(drop))
        }
        Command::Run { arguments } => run::run(&arguments),
        Command::Demo { seconds } => demo::demo(seconds),
        Command::Test => test::test(),
        Command::Bench { figures, write } => bench::bench(&figures, write),
        Command::Faults { kills, stopped } => faults::faults(kills, stopped),
        Command::Soak { minutes, write } => soak::soak(minutes, write),
        Command::Churn { containers, docker, seconds, write } => {
            churn::churn(containers, docker, seconds, write)
        }
        Command::Random { exchanges, seed, more } => random::random(exchanges, seed, &more),
        Command::Fuzz { targets, seconds, keep } => fuzz::fuzz(&targets, seconds, keep),
        Command::Check { end_to_end } => check::check(end_to_end),
        Command::Kernels { versions, full: true, .. } => kernels::full(&versions),
        Command::Kernels { versions, starts, write, full: false } => {
            kernels::kernels(&versions, starts, write)
        }
        Command::MetricsDoc { check } => metrics_doc::metrics_doc(check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
