//! What hosts do to an agent while applications are under full load, with the clients' own log as the truth.
//! [`kills`] and [`pause`] are run short by the end-to-end tests, and long by `cargo xtask faults`.

pub mod application;
pub mod calls;
pub mod kills;
pub mod pause;
pub mod rounds;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

/// Set when a signal asks for the end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How often a long sleep looks whether it is to end.
const STEP: Duration = Duration::from_millis(100);

/// Lets the next [`sleep`] fail, so that whatever was started is ended on the way out.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Sleeps for so long; fails at once when it is interrupted.
fn sleep(duration: Duration) -> Result<()> {
    let until = Instant::now() + duration;
    loop {
        ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(STEP));
    }
}
