//! `cargo xtask run -- ARGUMENTS`: builds the agent and becomes it.
//! The agent replaces this process, so that its signals and its exit code are its own.

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{build, setup, workspace};

/// Builds the agent and starts it with `arguments`.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    workspace::require_root("observer", "run -- ARGUMENTS")?;
    let agent = build::build(&setup::setup(false)?, &["observer"])?;
    let error = Command::new(&agent).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", agent.display()))
}
