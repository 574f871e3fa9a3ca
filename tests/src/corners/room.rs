//! A network namespace of a test's own, in which it may set what a machine has one of: options of TCP, sizes of packets.
//! It lives as long as a process that does nothing, and is gone with it.

use std::{
    fs::File,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{cgroup::Cgroup, process::Background};

/// How long it may take, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A namespace.
pub struct Room {
    holder: Background,
}

impl Room {
    /// A new one with nothing but loopback.
    pub fn create() -> Result<Self> {
        let script = "ip link set lo up && echo ready && exec sleep infinity";
        let mut holder = Background::start(Command::new("unshare").args(["-n", "sh", "-c", script]))
            .context("cannot make a network namespace (root needed)")?;
        holder.wait_for("network namespace", READY_WITHIN, |line| (line == "ready").then_some(()))?;
        Ok(Self { holder })
    }

    /// The process whose namespace it is.
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid()))
    }

    /// Runs a shell's command line in it; what it wrote.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut command = Command::new("nsenter");
        let output =
            self.entered(&mut command, "sh").args(["-c", line]).output().context("cannot start nsenter")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{line}` failed: {errors}");
        String::from_utf8(output.stdout).context("the output is not UTF-8")
    }

    /// Lets `work` open its sockets in it.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.path();
        thread::scope(|scope| {
            let working = scope.spawn(move || {
                let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .context("cannot enter a network namespace (root needed)")?;
                work()
            });
            working.join().map_err(|_| anyhow!("a thread panicked"))?
        })
    }

    /// A command that runs `program` in it, inside `cgroup`.
    pub fn command(&self, cgroup: &Cgroup, program: impl AsRef<Path>) -> Command {
        let mut command = cgroup.command("nsenter");
        self.entered(&mut command, program);
        command
    }

    /// As [`Room::command`], in no cgroup of a test's own.
    pub fn outside(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        self.entered(&mut command, program);
        command
    }

    fn entered<'c>(&self, nsenter: &'c mut Command, program: impl AsRef<Path>) -> &'c mut Command {
        nsenter.arg(format!("--net={}", self.path().display())).arg(program.as_ref())
    }
}
