//! `cargo xtask bench`: builds everything, then becomes the benchmark of the `tests` package.
//! The measurements live there, beside the workloads that they start.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{build, setup, workspace};

/// Where `--write` puts the figures, seen from the workspace's folder.
const DOCUMENT: &str = "docs/benchmark.md";

/// Builds and starts the benchmark of `figures`, or of all where there are none.
pub(crate) fn bench(figures: &[String], write: bool) -> Result<()> {
    workspace::require_root("the benchmark", "bench")?;
    let toolchain = setup::setup(true)?;
    let agent = build::build(&toolchain, &["observer", "tests"])?;
    let (empty, floor) = (build::empty_object(&toolchain)?, build::floor_object(&toolchain)?);
    let mut bench = Command::new(workspace::target_dir().join("release/bench"));
    bench
        .env("OBSERVER_BIN", agent)
        .arg("--empty-object")
        .arg(empty)
        .arg("--floor-object")
        .arg(floor)
        .args(figures);
    if write {
        bench.arg("--write").arg(workspace::root().join(DOCUMENT));
    }
    let error = bench.exec();
    Err(error).with_context(|| format!("cannot start {}", bench.get_program().display()))
}
