//! Cgroups with a process that does nothing, as targets of which there are to be many.
//! The process ends with its owner.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

use crate::cgroup::Cgroup;

/// A process that sleeps.
#[derive(Debug)]
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        // Both fail only where it has ended and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A cgroup with a process in it.
#[derive(Debug)]
pub struct Inhabited {
    // Before the cgroup, which can only be removed when it is empty.
    _sleeper: Sleeper,
    cgroup: Cgroup,
}

impl Inhabited {
    /// A new one below the root.
    pub fn create(prefix: &str) -> Result<Self> {
        let cgroup = Cgroup::create(prefix)?;
        let mut command = Command::new("sleep");
        command.arg("infinity").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let sleeper = Sleeper(command.spawn().context("cannot start sleep")?);
        let processes = cgroup.path().join("cgroup.procs");
        fs::write(&processes, sleeper.0.id().to_string())
            .with_context(|| format!("cannot write {}", processes.display()))?;
        Ok(Self { _sleeper: sleeper, cgroup })
    }

    /// The cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }
}
