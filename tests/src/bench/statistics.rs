//! The kernel's own run-time statistics of BPF programs: switched for a measurement, put back after it.
//! They cost a few tens of nanoseconds per run, so they are off where throughput is measured.

use std::fs;

use anyhow::{Context, Result};

/// `kernel.bpf_stats_enabled` (Documentation/admin-guide/sysctl/kernel.rst).
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Keeps the statistics on or off; dropping it puts back what was set before.
#[derive(Debug)]
pub struct Statistics {
    before: String,
}

impl Statistics {
    /// Switches them for the whole host.
    pub fn switch(on: bool) -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        write(if on { "1" } else { "0" })?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = write(self.before.trim()) {
            eprintln!("error: {error:#}");
        }
    }
}

fn write(value: &str) -> Result<()> {
    fs::write(SWITCH, value).with_context(|| format!("cannot write {SWITCH} (root needed)"))
}
