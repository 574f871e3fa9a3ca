//! Corners of HTTP that are about bytes and their order, played against the kernel half as this kernel has verified it.
//! The same lists as in the tests of the host, one after another beside one agent.

use std::fs;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{
    agent::Agent,
    corners::{
        actor::Manner,
        cases,
        expected::Expected,
        stage::{Place, Stage},
    },
};

/// Every corner has routes of its own, more than a target usually has.
const CONFIGURATION: &str = "[limits]\nroutes = 2000\n[docker]\nsocket = \"\"\n";

/// Plays all; says how many they were.
pub fn test() -> Result<String> {
    let folder = TempDir::new().context("cannot make a folder")?;
    let file = folder.path().join("observer.toml");
    fs::write(&file, CONFIGURATION).context("cannot write a configuration")?;
    let stage = Stage::with(Place::Loopback, |target| {
        let file = file.display().to_string();
        Agent::start(["--config", &file, "--target", &format!("{target},app=generic")])
    })?;
    let (mut played, mut expected) = (0, Expected::nothing());
    for (subject, cases) in cases::framing() {
        played += cases.len();
        expected = expected.and(stage.play(cases, Manner::Usual).context(subject)?);
    }
    stage.expect(expected)?;
    stage.end()?;
    Ok(format!("{played} corners"))
}
