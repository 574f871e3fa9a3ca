//! The soak of `cargo xtask soak`, for as long as continuous integration has time for.
//! How fast it goes depends on what else the machine does; what is counted and kept does not.

use std::time::Duration;

use anyhow::Result;
use tests::soak;

#[test]
fn under_even_load_nothing_is_lost_and_memory_stays_flat() -> Result<()> {
    let outcome = soak::run(Duration::from_secs(20))?;
    println!("{}", soak::report::table(&outcome));
    outcome.require_nothing_lost()
}
