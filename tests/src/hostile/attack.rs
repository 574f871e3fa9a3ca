//! The target that means harm: programs of fixtures/hostile, as a user without rights, in a cgroup of their own.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    cgroup::Cgroup,
    process::{Background, PATIENCE, wait_until},
};

/// Who attacks: nobody.
const USER: &str = "65534";

/// A running attack; it is killed with all that it has started when this is dropped.
pub struct Attack {
    process: Background,
    cgroup: PathBuf,
}

impl Drop for Attack {
    fn drop(&mut self) {
        // All at once: there may be thousands of them.
        if let Err(error) = fs::write(self.cgroup.join("cgroup.kill"), "1") {
            eprintln!("error: cannot kill an attack: {error}");
        }
        let is_empty =
            || fs::read_to_string(self.cgroup.join("cgroup.procs")).is_ok_and(|all| all.is_empty());
        if wait_until("an attack has ended", PATIENCE, || Ok(is_empty())).is_err() {
            eprintln!("error: an attack does not end");
        }
    }
}

/// A program of fixtures/hostile.
pub(super) fn program(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/hostile").join(name)
}

impl Attack {
    /// Starts `arguments` of attack.py in `cgroup`.
    pub fn start(cgroup: &Cgroup, arguments: &[&str]) -> Result<Self> {
        let mut command = cgroup.command("setpriv");
        command.arg("--reuid").arg(USER).arg("--regid").arg(USER).arg("--clear-groups");
        command.arg("/usr/bin/python3").arg(program("attack.py")).args(arguments);
        let process = Background::start(&mut command).context("cannot start an attack")?;
        Ok(Self { process, cgroup: cgroup.path().to_owned() })
    }

    /// Waits until it has done its worst.
    pub fn done(&mut self, within: Duration) -> Result<()> {
        self.process.wait_for("the end of an attack", within, |line| (line == "done").then_some(()))
    }

    /// The same arguments as somebody outside of every target, run to its end; what it wrote.
    pub fn outside(arguments: &[&str], within: Duration) -> Result<String> {
        let mut command = Command::new("/usr/bin/python3");
        let ended = Background::start(command.arg(program("attack.py")).args(arguments))?.finish(within)?;
        ensure!(ended.status.success(), "{}", ended.output);
        Ok(ended.output)
    }

    /// Its process, for what it writes.
    pub fn process(&mut self) -> &mut Background {
        &mut self.process
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}
