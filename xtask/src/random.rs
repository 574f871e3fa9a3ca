//! `cargo xtask random`: builds everything, then becomes the program of the `tests` package that plays random exchanges.
//! The end-to-end tests do the same for short.

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{build, setup, workspace};

/// Builds, then plays `exchanges` from `seed`, with `more` of that program's own arguments.
pub(crate) fn random(exchanges: u64, seed: Option<u64>, more: &[OsString]) -> Result<()> {
    workspace::require_root("this", "random")?;
    let agent = build::build(&setup::setup(true)?, &["observer", "tests"])?;
    let mut random = Command::new(workspace::target_dir().join("release/random"));
    random.env("OBSERVER_BIN", agent).args(["run", "--exchanges", &exchanges.to_string()]);
    if let Some(seed) = seed {
        random.args(["--seed", &seed.to_string()]);
    }
    let error = random.args(more).exec();
    Err(error).with_context(|| format!("cannot start {}", random.get_program().display()))
}
