//! `observer targets`: what would be observed, and why.
//! Reads the host as the agent would, and attaches nothing.

use std::io::Write;

use anyhow::Context as _;
use tokio::runtime;

use crate::{agent, config::Config, nodejs, targets};

/// Prints selectors with their targets, and what matched nothing.
pub fn targets(out: &mut impl Write, config: &Config) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let settings = agent::target_settings(config);
    let proc_root = settings.proc_root.clone();
    let remarks = |processes: &[u32]| {
        let mut remarks = nodejs::not_covered(&proc_root, processes);
        remarks.extend(targets::socket_activated(&proc_root, processes));
        remarks
    };
    let text = runtime.block_on(targets::explain(settings, remarks))?;
    out.write_all(text.as_bytes())?;
    Ok(())
}
