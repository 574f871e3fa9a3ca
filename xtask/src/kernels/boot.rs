//! One guest from boot to power-off, within a time.
//! A guest that does not come to its end is an error that shows the last words of both sides.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{emulator::Emulator, folder, image::Guest, results::Results};
use crate::step;

/// Lines of the console and of the results that a stuck guest is judged by.
const LAST_WORDS: usize = 15;

/// Boots `kernel` as `guest`; what its tests said.
pub(super) fn boot(
    emulator: &Emulator,
    version: &str,
    kernel: &Path,
    guest: &Guest,
    within: Duration,
) -> Result<Results> {
    let [console, results] = ["console", "results"].map(|name| folder().join(version).join(name));
    for file in [&console, &results] {
        fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
    }
    let machine = emulator.machine(kernel, guest, &console, &results);
    let booted = step::run_quietly(&format!("testing on Linux {version}"), &mut limited(&machine, within));
    let text = lossy(&results)?;
    if let Some(found) = Results::parse(&text) {
        return Ok(found);
    }
    booted.with_context(|| format!("the guest did not end within {within:?}; see {}", results.display()))?;
    bail!(
        "the guest broke off; {} ends with:\n{}\n{} ends with:\n{}",
        console.display(),
        tail(&lossy(&console)?),
        results.display(),
        tail(&text)
    )
}

/// `machine` under coreutils' timeout(1), which ends it by its process id.
fn limited(machine: &Command, within: Duration) -> Command {
    let mut command = Command::new("timeout");
    command.arg("--kill-after=5").arg(within.as_secs().to_string());
    command.arg(machine.get_program()).args(machine.get_args());
    for (name, value) in machine.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

/// A serial port's output, with plain line ends.
fn lossy(file: &PathBuf) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
}
