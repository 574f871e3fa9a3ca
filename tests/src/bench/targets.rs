//! A thousand targets: how long attaching to all takes, and what memory and scrapes cost then.
//! Each target is a cgroup with one process that sleeps.

use anyhow::{Result, bail};

use super::{
    Setup,
    figure::{Budget, Figure, Measured},
    start, usage,
};
use crate::{process::Background, sleeper::Inhabited};

/// How many targets there are.
const TARGETS: usize = 1_000;

/// Runs, each with an agent of its own.
const RUNS: usize = 3;

/// What this file measures.
pub(super) static FIGURES: [Figure; 3] = [
    Figure {
        name: "targets_attach",
        unit: "s",
        budget: Some(Budget::AtMost(5.0)),
        about: "From the start of the agent until it is attached to 1,000 cgroups.",
    },
    Figure {
        name: "targets_memory",
        unit: "MiB",
        budget: Some(Budget::AtMost(60.0)),
        about: "Resident memory of the agent after scrapes, with 1,000 targets.",
    },
    Figure {
        name: "targets_scrape",
        unit: "ms",
        budget: None,
        about: "A scrape with 1,000 targets of one process each.",
    },
];

/// Measures all figures of this file.
pub(super) fn measure(setup: &Setup) -> Result<Vec<Measured>> {
    let targets = (0..TARGETS).map(|_| Inhabited::create("observer-bench")).collect::<Result<Vec<_>>>()?;
    let mut arguments = vec!["--docker-socket".to_owned(), String::new()];
    for target in &targets {
        arguments.extend(["--target".to_owned(), target.cgroup().selector()]);
    }
    let (mut attach, mut memory, mut scrape) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        setup.go_on()?;
        let (mut agent, ready) = start::until_ready(&arguments)?;
        attach.push(ready.as_secs_f64());
        let observed = agent.scrape()?.get("observer_targets", &[("state", "observed")]);
        if observed != Some(TARGETS as f64) {
            let process: &Background = agent.process();
            bail!("{TARGETS} targets, {observed:?} observed; the observer wrote:\n{}", process.output());
        }
        scrape.push(usage::scrape_milliseconds(&agent)?);
        memory.push(usage::resident_mebibytes(agent.process().pid())?);
    }
    let [targets_attach, targets_memory, targets_scrape] = &FIGURES;
    Ok(vec![
        targets_attach.measured(attach),
        targets_memory.measured(memory),
        targets_scrape.measured(scrape),
    ])
}
