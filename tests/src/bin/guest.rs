//! What `cargo xtask kernels` starts in an emulated machine; see `tests::guest`.
//! `run` prints the results, `serve` and `obey` are the servers that the tests start.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use tests::{
    corners::actor,
    guest::{limits, run_all, run_full, service},
};
use tokio::runtime::Runtime;

/// Tests of observer on this machine's kernel.
#[derive(Parser)]
enum Arguments {
    /// Run all tests; a line for each program and each test.
    Run {
        /// How often the agent is started in the test that counts what stays.
        #[arg(long, default_value_t = 50)]
        starts: u32,
    },
    /// Run the tests with Docker containers.
    Full,
    /// Serve HTTP as each request asks for.
    Serve,
    /// Do with connections what each client orders.
    Obey,
    /// Play the target's end of connections, as orders to this socket say.
    Act {
        /// A path.
        socket: PathBuf,
    },
    /// Ask for a whole CPU for some seconds; print how much came.
    Spin,
    /// Take more memory than the limit of the test.
    Eat,
}

fn main() -> ExitCode {
    match guest(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn guest(arguments: &Arguments) -> Result<()> {
    match arguments {
        Arguments::Run { starts } => run_all(*starts),
        Arguments::Full => run_full(),
        Arguments::Serve => Runtime::new()?.block_on(service::serve())?,
        Arguments::Act { socket } => actor::obey(socket)?,
        Arguments::Spin => limits::spin()?,
        Arguments::Eat => limits::eat(),
        Arguments::Obey => Runtime::new()?.block_on(service::obey())?,
    }
    Ok(())
}
