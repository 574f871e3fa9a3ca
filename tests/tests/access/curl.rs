//! curl, as people run it, and what it says.
//! It reads no configuration of its own and uses no proxy.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bed::METRIC;

/// How curl ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its exit code, 0 when there was an answer; see EXIT CODES in curl(1).
    pub(crate) code: i32,
    /// The status of the answer, 0 without one.
    pub(crate) status: u16,
    /// Head and body, and what curl complained of.
    pub(crate) text: String,
}

/// Runs `curl ARGUMENTS`.
pub(crate) fn curl(arguments: &[&str]) -> Result<Outcome> {
    let output = Command::new("curl")
        .args(["-q", "--silent", "--show-error", "--include", "--noproxy", "*", "--max-time", "20"])
        .args(["--write-out", "\n%{http_code}"])
        .args(arguments)
        .output()
        .context("cannot start curl: run `cargo xtask setup --tests`")?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let (answer, status) = answer.rsplit_once('\n').context("curl wrote no status")?;
    Ok(Outcome {
        code: output.status.code().context("curl was killed")?,
        status: status.parse().with_context(|| format!("curl wrote the status {status}"))?,
        text: format!("{answer}{}", String::from_utf8_lossy(&output.stderr)),
    })
}

/// Fails unless these arguments get the metrics.
pub(crate) fn granted(arguments: &[&str]) -> Result<()> {
    let outcome = curl(arguments)?;
    ensure!(outcome.code == 0 && outcome.status == 200, "curl {arguments:?}: {outcome:?}");
    ensure!(outcome.text.contains(METRIC), "curl {arguments:?}: no metrics in {}", outcome.text);
    Ok(())
}

/// Fails unless these arguments get 401; the whole answer.
pub(crate) fn denied(arguments: &[&str]) -> Result<String> {
    let outcome = curl(arguments)?;
    ensure!(outcome.code == 0 && outcome.status == 401, "curl {arguments:?}: {outcome:?}");
    ensure!(!outcome.text.contains("observer_"), "curl {arguments:?}: {}", outcome.text);
    Ok(outcome.text)
}

/// Fails unless these arguments get no answer at all, with one of `codes`.
pub(crate) fn closed(codes: &[i32], arguments: &[&str]) -> Result<()> {
    let outcome = curl(arguments)?;
    ensure!(codes.contains(&outcome.code) && outcome.status == 0, "curl {arguments:?}: {outcome:?}");
    Ok(())
}
