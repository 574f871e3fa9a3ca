//! The command line of the observer agent.
//! Parses, dispatches, turns errors into exit codes; everything else lives in the library.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use observer::{
    agent::reference::reference,
    cli::{Cli, Command},
    commands,
    config::Config,
    reading::read_for_agent,
};

/// Exit code for wrong use, as clap's own.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // It has no configuration of its own, and must not complain of it.
    if matches!(cli.command, Command::Reader) {
        return if read_for_agent().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let config = match cli.options.load() {
        Ok(config) => config,
        Err(error) => return complain(&error.into(), ExitCode::from(USAGE)),
    };
    match dispatch(cli.command, &config) {
        Ok(code) => code,
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => complain(&error, ExitCode::FAILURE),
    }
}

fn dispatch(command: Command, config: &Config) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout();
    let mut code = ExitCode::SUCCESS;
    match command {
        Command::Run(arguments) => commands::run::run(config, arguments.kernel_log)?,
        Command::Check => {
            if !commands::check::check(&mut out, config)? {
                code = ExitCode::FAILURE;
            }
        }
        Command::Targets => commands::targets::targets(&mut out, config)?,
        Command::Metrics(arguments) => {
            commands::metrics::metrics(&mut out, reference(), &config.metrics.prefix, arguments.format)?;
        }
        Command::Config => commands::config::config(&mut out, config)?,
        // It has been by now.
        Command::Reader => {}
    }
    out.flush()?;
    Ok(code)
}

/// Prints an error; where standard error is gone too, the exit code says it alone.
fn complain(error: &anyhow::Error, code: ExitCode) -> ExitCode {
    writeln!(io::stderr(), "observer: {error:#}").ok();
    code
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    })
}
