//! `cargo xtask soak`: builds everything, then becomes the soak of the `tests` package.
//! The load and what is looked at live there. `cargo xtask test` runs a short one.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{build, setup, step, workspace};

/// Where `--write` puts the result, seen from the workspace's folder.
const DOCUMENT: &str = "docs/soak.md";

/// Minutes of the short one.
const SHORT: u32 = 5;

/// Builds and starts the soak.
pub(crate) fn soak(minutes: u32, write: bool) -> Result<()> {
    workspace::require_root("the soak", "soak")?;
    build::build(&setup::setup(true)?, &["observer", "tests"])?;
    let mut soak = program(minutes);
    if write {
        soak.arg("--write").arg(workspace::root().join(DOCUMENT));
    }
    let error = soak.exec();
    Err(error).with_context(|| format!("cannot start {}", soak.get_program().display()))
}

/// Runs a short one by what is built already, beside whatever else the machine does: how fast it goes then tells nothing.
pub(crate) fn short() -> Result<()> {
    step::run_quietly(&format!("soaking for {SHORT} minutes"), program(SHORT).arg("--any-pace"))
}

fn program(minutes: u32) -> Command {
    let mut soak = Command::new(workspace::target_dir().join("release/soak"));
    soak.env("OBSERVER_BIN", workspace::agent()).args(["--minutes", &minutes.to_string()]);
    soak
}
