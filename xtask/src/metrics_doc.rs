//! `cargo xtask metrics-doc`: docs/metrics.md, made by the agent from the metrics that it has.
//! The file is never written by hand; `--check` compares, as `cargo xtask check` does.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{build, setup, step, workspace};

/// The generated reference, seen from the workspace's folder.
const DOCUMENT: &str = "docs/metrics.md";

/// Writes the reference, or with `check` compares it.
pub(crate) fn metrics_doc(check: bool) -> Result<()> {
    let agent = build::build(&setup::setup(false)?, &["observer"])?;
    if check {
        return compare(&agent);
    }
    let document = workspace::root().join(DOCUMENT);
    let reference = reference(&agent)?;
    let folder = document.parent().unwrap_or(&document);
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    fs::write(&document, reference).with_context(|| format!("cannot write {DOCUMENT}"))?;
    step::say(&format!("wrote {DOCUMENT}"));
    Ok(())
}

/// Fails where the file is not what `agent` says.
pub(crate) fn compare(agent: &Path) -> Result<()> {
    step::say(&format!("comparing {DOCUMENT}"));
    let written =
        fs::read(workspace::root().join(DOCUMENT)).with_context(|| format!("cannot read {DOCUMENT}"))?;
    if written != reference(agent)? {
        bail!("{DOCUMENT} is out of date; run `cargo xtask metrics-doc` and commit it");
    }
    Ok(())
}

/// The reference as `agent` prints it.
fn reference(agent: &Path) -> Result<Vec<u8>> {
    let run = Command::new(agent)
        .args(["metrics", "--format", "markdown"])
        .output()
        .with_context(|| format!("cannot start {}", agent.display()))?;
    if !run.status.success() || run.stdout.is_empty() {
        bail!(
            "`observer metrics --format markdown` gave no reference ({}): {}",
            run.status,
            String::from_utf8_lossy(&run.stderr).trim()
        );
    }
    Ok(run.stdout)
}
