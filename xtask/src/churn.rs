//! `cargo xtask churn`: builds everything, then becomes the program of the `tests` package that starts and ends containers.
//! What is looked at lives there.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{build, setup, workspace};

/// Where `--write` puts the result, seen from the workspace's folder.
const DOCUMENT: &str = "docs/churn.md";

/// Builds and starts it.
pub(crate) fn churn(containers: u32, docker: u32, seconds: u32, write: bool) -> Result<()> {
    workspace::require_root("starting containers", "churn")?;
    let agent = build::build(&setup::setup(true)?, &["observer", "tests"])?;
    let mut churn = Command::new(workspace::target_dir().join("release/churn"));
    churn.env("OBSERVER_BIN", agent);
    churn.args(["--containers", &containers.to_string(), "--docker", &docker.to_string()]);
    churn.args(["--seconds", &seconds.to_string()]);
    if write {
        churn.arg("--write").arg(workspace::root().join(DOCUMENT));
    }
    let error = churn.exec();
    Err(error).with_context(|| format!("cannot start {}", churn.get_program().display()))
}
