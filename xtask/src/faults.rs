//! `cargo xtask faults`: builds everything, then becomes the program that kills agents and stops one, for long.
//! The end-to-end tests do the same for short; the last result is in docs/faults.md.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{build, setup, workspace};

/// Builds, then kills `kills` agents and stops one for `stopped` seconds.
pub(crate) fn faults(kills: u32, stopped: u64) -> Result<()> {
    workspace::require_root("this", "faults")?;
    let agent = build::build(&setup::setup(true)?, &["observer", "tests"])?;
    let mut faults = Command::new(workspace::target_dir().join("release/faults"));
    faults.env("OBSERVER_BIN", agent).arg("run");
    faults.args(["--kills", &kills.to_string(), "--stopped", &stopped.to_string()]);
    let error = faults.exec();
    Err(error).with_context(|| format!("cannot start {}", faults.get_program().display()))
}
