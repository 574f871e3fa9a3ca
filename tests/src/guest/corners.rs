//! Corners of HTTP that are about bytes and their order, played against the kernel half that this kernel has verified.
//! The same lists as in the tests of the host, with the test as the other end.

use anyhow::{Context as _, Result};

use crate::corners::{cases, stage};

/// Plays all; says how many they were.
pub fn test() -> Result<String> {
    let (mut played, mut failed) = (0, Vec::new());
    for (subject, cases) in cases::framing() {
        played += cases.len();
        if let Err(error) = stage::check(cases).context(subject) {
            failed.push(format!("{error:#}"));
        }
    }
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(format!("{played} corners"))
}
