//! A thousand targets: how long attaching to all takes, and what memory and scrapes cost then.
//! Each target is a cgroup with one process that sleeps.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{
    Setup,
    figure::{Budget, Figure, Measured},
    start, usage,
};
use crate::{cgroup::Cgroup, process::Background};

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

/// A process that sleeps, ended with its owner.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        // Both fail only where it has ended and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A cgroup with a process in it.
struct Inhabited {
    // Before the cgroup, which can only be removed when it is empty.
    _sleeper: Sleeper,
    cgroup: Cgroup,
}

impl Inhabited {
    fn create() -> Result<Self> {
        let cgroup = Cgroup::create("observer-bench")?;
        let mut command = Command::new("sleep");
        command.arg("infinity").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let sleeper = Sleeper(command.spawn().context("cannot start sleep")?);
        let processes = cgroup.path().join("cgroup.procs");
        fs::write(&processes, sleeper.0.id().to_string())
            .with_context(|| format!("cannot write {}", processes.display()))?;
        Ok(Self { _sleeper: sleeper, cgroup })
    }
}

/// Measures all figures of this file.
pub(super) fn measure(setup: &Setup) -> Result<Vec<Measured>> {
    let targets = (0..TARGETS).map(|_| Inhabited::create()).collect::<Result<Vec<_>>>()?;
    let mut arguments = vec!["--docker-socket".to_owned(), String::new()];
    for target in &targets {
        arguments.extend(["--target".to_owned(), target.cgroup.selector()]);
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
