//! `observer run`: observes, and serves the metrics.
//! Everything happens in [`crate::agent`]; here is the runtime that it happens on.

use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime;

use crate::{
    agent,
    config::Config,
    confine::{self, Plans},
    kernel::{self, memory},
    logging,
    reading::Readers,
};

/// Attaching and scraping block a thread each; the rest needs hardly any.
const THREADS: usize = 2;
/// How long a scrape that is under way may go on after the agent has stopped.
const GRACE: Duration = Duration::from_millis(200);

/// Runs the agent until it is told to stop. `kernel_log`: also logs what the kernel half says of itself.
pub fn run(config: &Config, kernel_log: bool) -> anyhow::Result<()> {
    memory::keep_little();
    logging::init(&config.log)?;
    confine::descriptors::raise_limit()?;
    // Before privileges are given up, so that they have what they need, and before there is anything that they could hold.
    let readers = Readers::start().context("cannot start the processes that read files")?;
    let perf_probes = config.nodejs.enabled && !kernel::probes_by_links();
    let plans = Plans { low_port: config.listen.is_low_port(), perf_probes };
    confine::give_up_privileges(plans)?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let result = runtime.block_on(agent::run(config, kernel_log, readers));
    runtime.shutdown_timeout(GRACE);
    result
}
