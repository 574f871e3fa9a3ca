//! `cargo xtask soak`: builds everything, then becomes the soak of the `tests` package.
//! The load and what is looked at live there.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{build, setup, workspace};

/// Where `--write` puts the result, seen from the workspace's folder.
const DOCUMENT: &str = "docs/soak.md";

/// Builds and starts the soak.
pub(crate) fn soak(minutes: u32, write: bool) -> Result<()> {
    workspace::require_root("the soak", "soak")?;
    let agent = build::build(&setup::setup(true)?, &["observer", "tests"])?;
    let mut soak = Command::new(workspace::target_dir().join("release/soak"));
    soak.env("OBSERVER_BIN", agent).args(["--minutes", &minutes.to_string()]);
    if write {
        soak.arg("--write").arg(workspace::root().join(DOCUMENT));
    }
    let error = soak.exec();
    Err(error).with_context(|| format!("cannot start {}", soak.get_program().display()))
}
