//! How many files the agent may have open, and how many are left: each target takes some, and each executable that is probed.
//! Whoever asks for metrics gets of what is spare, and is refused first.

use std::fs;

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the kernel half and the runtime take before there is any target, with some to work with.
const LEAST: u64 = 112;

/// Kept for targets, and for the files that one look opens, beside what is open when serving begins.
const KEPT: u64 = 32;

/// Takes as many as may be had.
///
/// # Errors
/// Where they are too few to work with.
pub fn raise_limit() -> anyhow::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, ?current, "the limit of open files stays as it is");
    }
    let limit = limit();
    ensure!(
        limit >= LEAST,
        "{limit} open files are too few: observer needs {LEAST} and 10 for each target; raise the limit (`ulimit -n`, \
         LimitNOFILE of systemd)"
    );
    Ok(())
}

/// How many more may be opened without taking what is kept for targets; `None` where that cannot be told.
pub fn spare() -> Option<usize> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    let spare = limit().saturating_sub(open + KEPT);
    usize::try_from(spare).ok()
}

fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
