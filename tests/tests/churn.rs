//! Containers that come and go, as many as continuous integration has time for; `cargo xtask churn` has a thousand.
//! Each is counted, and none leaves anything behind in the agent.

use std::time::Duration;

use anyhow::Result;
use tests::churn::{self, Plan};

#[test]
fn short_lived_containers_are_all_counted_and_leave_nothing_behind() -> Result<()> {
    let outcome = churn::run(Plan { cgroups: 100, containers: 4, within: Duration::from_secs(12) })?;
    println!("{}", churn::report::table(&outcome));
    outcome.require()
}
