//! The agent is started and stopped, or killed, many times: the kernel then has as many programs, maps and links as before.
//! Nothing else in the guest uses any, so that all of the kernel's are counted.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::{
    maps::loaded_maps,
    programs::{loaded_links, loaded_programs},
};
use rustix::process::Signal;

use super::observe;
use crate::{
    cgroup::Cgroup,
    process::{PATIENCE, wait_until},
};

/// Every third end is by SIGKILL, which leaves the agent no time to clean up.
const KILLED: u32 = 3;

/// Programs, maps and links of the whole kernel.
fn in_kernel() -> Result<[usize; 3]> {
    let mut last = list();
    // One that vanishes between its number and its description ends the list with an error.
    for _ in 0..LISTED_AGAIN {
        if last.is_ok() {
            break;
        }
        last = list();
    }
    last
}

/// How often a list is made anew.
const LISTED_AGAIN: usize = 100;

fn list() -> Result<[usize; 3]> {
    let programs = loaded_programs().collect::<Result<Vec<_>, _>>().context("cannot list programs")?;
    let maps = loaded_maps().collect::<Result<Vec<_>, _>>().context("cannot list maps")?;
    let links = loaded_links().collect::<Result<Vec<_>, _>>().context("cannot list links")?;
    Ok([programs.len(), maps.len(), links.len()])
}

/// How long nothing must have been freed any more.
const STILL: Duration = Duration::from_secs(2);

/// What is there once the kernel has freed what other tests' agents had.
fn settled() -> Result<[usize; 3]> {
    let mut last = (in_kernel()?, Instant::now());
    wait_until("the kernel has freed what was there before", PATIENCE, || {
        let now = in_kernel()?;
        if now != last.0 {
            last = (now, Instant::now());
        }
        Ok(last.1.elapsed() > STILL)
    })?;
    Ok(last.0)
}

/// Starts and ends the agent `starts` times; says what was there meanwhile.
pub fn test(starts: u32) -> Result<String> {
    let cgroup = Cgroup::create("restarts")?;
    let before = settled()?;
    let mut during = before;
    for number in 0..starts {
        let mut agent = observe(&cgroup).with_context(|| format!("start {number}"))?;
        during = in_kernel()?;
        ensure!(
            during.iter().zip(before).all(|(during, before)| *during > before),
            "nothing was loaded: {during:?}, before {before:?}"
        );
        if number % KILLED == 0 {
            agent.process().signal(Signal::KILL)?;
            agent.process().wait(PATIENCE)?;
        } else {
            let status = agent.stop()?;
            ensure!(status.success(), "the agent ended with {status}");
        }
        // The kernel frees what nothing holds any more after a grace period of its own.
        let gone = wait_until("the kernel has freed everything", PATIENCE, || Ok(in_kernel()? == before));
        gone.with_context(|| format!("after end {number}: {:?}, before {before:?}", in_kernel()))?;
        println!("start {number} of {starts} left nothing");
    }
    let [programs, maps, links] = [0, 1, 2].map(|kind| during[kind] - before[kind]);
    Ok(format!("{starts} starts, each {programs} programs, {maps} maps and {links} links, none left"))
}
