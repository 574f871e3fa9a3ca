//! The agent is killed at random moments, and stopped, while applications are under full load: none of their calls fails,
//! and no count is wrong. `cargo xtask faults` does the same for long, and looks for stalls too.

use std::{path::Path, time::Duration};

use anyhow::Result;
use tests::faults::{kills, pause};

/// The program with the client.
const FAULTS: &str = env!("CARGO_BIN_EXE_faults");

#[test]
fn no_call_of_an_application_under_full_load_fails_when_the_agent_is_killed_twenty_times() -> Result<()> {
    kills::run(Path::new(FAULTS), 20, 7).map(drop)
}

#[test]
fn an_agent_that_is_stopped_under_full_load_counts_what_it_lost_and_has_its_connections_at_once() -> Result<()>
{
    pause::run(Path::new(FAULTS), Duration::from_secs(10)).map(drop)
}
