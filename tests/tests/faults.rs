//! The agent is killed at random moments, and stopped, while applications are under full load: they notice nothing, and no
//! count is wrong. `cargo xtask faults` does the same for long.

use std::{path::Path, time::Duration};

use anyhow::Result;
use tests::faults::{kills, pause};

/// The program with the client.
const FAULTS: &str = env!("CARGO_BIN_EXE_faults");

#[test]
fn an_application_under_full_load_does_not_notice_that_the_agent_is_killed_twenty_times() -> Result<()> {
    kills::run(Path::new(FAULTS), 20, 7).map(drop)
}

#[test]
fn an_agent_that_is_stopped_under_full_load_counts_what_it_lost_and_has_its_connections_at_once() -> Result<()>
{
    pause::run(Path::new(FAULTS), Duration::from_secs(10)).map(drop)
}
