//! Corners of HTTP that are about bytes and their order, played against the kernel half as this kernel has verified it.
//! The same lists as in the tests of the host, one after another beside one agent.

use anyhow::{Context as _, Result};

use crate::corners::{actor::Manner, cases, expected::Expected, stage::Stage};

/// Plays all; says how many they were.
pub fn test() -> Result<String> {
    let stage = Stage::with_room_for_all()?;
    let (mut played, mut expected) = (0, Expected::nothing());
    for (subject, cases) in cases::framing() {
        played += cases.len();
        expected = expected.and(stage.play(cases, Manner::Usual).context(subject)?);
    }
    stage.expect(expected)?;
    stage.end()?;
    Ok(format!("{played} corners"))
}
