//! A Node.js process under `strace` while an agent attaches to it and leaves: it gets no signal and is not traced by the
//! agent, its debugger stays closed, and no file of its file system changes.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hasher as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    nodejs::{executable, program},
    process::{Background, PATIENCE, wait_until},
};

/// What a file is told apart by: inode, size, when its data and its inode changed, and a hash of its bytes.
type Files = BTreeMap<PathBuf, (u64, u64, i64, i64, u64)>;

/// Port 9229 of Node.js' debugger, as the kernel writes it.
const DEBUGGER: &str = ":240D ";

fn files(folder: &Path) -> Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(folder).context("cannot read the folder")? {
        let path = entry?.path();
        let metadata = fs::metadata(&path)?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&fs::read(&path)?);
        let changed = (metadata.mtime_nsec() ^ metadata.mtime(), metadata.ctime_nsec() ^ metadata.ctime());
        files.insert(path, (metadata.ino(), metadata.size(), changed.0, changed.1, hasher.finish()));
    }
    Ok(files)
}

/// The one process of the cgroup that `strace` traces, and not `strace` itself.
fn traced(cgroup: &Cgroup, strace: u32) -> Result<Option<i32>> {
    let others = cgroup.processes()?.into_iter().filter(|pid| pid.cast_unsigned() != strace);
    Ok(others.into_iter().next())
}

fn debugger_is_closed(pid: i32) -> Result<bool> {
    let sockets = ["tcp", "tcp6"].map(|file| fs::read_to_string(format!("/proc/{pid}/net/{file}")));
    let mut open = false;
    for text in sockets {
        open |= text.context("cannot read the sockets")?.contains(DEBUGGER);
    }
    Ok(!open)
}

#[test]
fn the_process_gets_no_signal_and_its_files_stay_as_they_are() -> Result<()> {
    let container = TempDir::new().context("cannot make a folder")?;
    let (node, script) = (container.path().join("node"), container.path().join("server.js"));
    fs::copy(executable(20)?, &node).context("cannot copy Node.js")?;
    fs::copy(program("server.js"), &script).context("cannot copy the program")?;
    let before = files(container.path())?;

    let outside = TempDir::new().context("cannot make a folder")?;
    let log = outside.path().join("strace");
    let cgroup = Cgroup::create("nodejs-strace")?;
    let mut command = cgroup.command("strace");
    command.args(["-f", "-o"]).arg(&log).arg(&node).arg(&script);
    let mut strace = Background::start(&mut command).context("the tests need strace")?;
    strace
        .wait_for("a listening server", PATIENCE * 3, |line| line.starts_with("listening").then_some(()))?;
    let pid = traced(&cgroup, strace.pid())?.context("strace runs nothing")?;

    for _ in 0..2 {
        let mut agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
        agent.process().wait_for("probes", Duration::from_mins(1), |line| {
            line.contains("probing an executable").then_some(())
        })?;
        let counts =
            |agent: &Agent| Ok(agent.scrape()?.sum("chat_nodejs_eventloop_busy_seconds_count", &[]) > 3.5);
        wait_until("turns are counted", PATIENCE, || {
            ensure!(debugger_is_closed(pid)?, "the debugger's port is open");
            counts(&agent)
        })?;
        agent.stop()?;
        ensure!(debugger_is_closed(pid)?, "the debugger's port is open");
    }

    ensure!(traced(&cgroup, strace.pid())? == Some(pid), "the process has not lived through it");
    let trace = fs::read_to_string(&log).context("cannot read what strace wrote")?;
    ensure!(trace.contains("epoll_pwait") || trace.contains("epoll_wait"), "strace saw nothing");
    let signals: Vec<&str> = trace.lines().filter(|line| line.contains("--- SIG")).collect();
    ensure!(signals.is_empty(), "signals came: {signals:?}");
    ensure!(!trace.contains("ptrace("), "the process traces or is made to be traced");
    ensure!(files(container.path())? == before, "a file of the container has changed");
    Ok(())
}
