//! `cargo xtask demo`: builds everything, then becomes the demo of the `tests` package.
//! The demo itself lives there, beside the service and the load that it starts.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{build, setup, workspace};

/// Builds and starts the demo; with `seconds` it ends by itself.
pub(crate) fn demo(seconds: Option<u64>) -> Result<()> {
    workspace::require_root("the demo", "demo")?;
    let agent = build::build(&setup::setup(false)?, &["observer", "tests"])?;
    let mut demo = Command::new(workspace::target_dir().join("release/demo"));
    demo.env("OBSERVER_BIN", agent);
    if let Some(seconds) = seconds {
        demo.args(["--seconds", &seconds.to_string()]);
    }
    let error = demo.exec();
    Err(error).with_context(|| format!("cannot start {}", demo.get_program().display()))
}
