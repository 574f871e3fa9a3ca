//! Files on a file system of a process that stops answering: executables, and arguments.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tests::{
    agent::Agent,
    hostile::{Attack, Duel, Fuse},
    process::PATIENCE,
};

/// How long an attack may take, on a busy machine.
const WITHIN: Duration = Duration::from_mins(1);

/// An agent ends within so long, whatever it was waiting for.
const ENDS: Duration = Duration::from_secs(1);

/// Ends the agent by `signal`, and takes its port.
fn end(agent: &mut Agent, signal: Signal) -> Result<()> {
    let address = agent.address();
    let begun = Instant::now();
    agent.process().signal(signal)?;
    agent.process().wait(PATIENCE)?;
    ensure!(begun.elapsed() < ENDS, "it ended {:?} after {signal:?}", begun.elapsed());
    TcpListener::bind(address)?;
    Ok(())
}

fn silent_executable(answered: u64, signal: Signal) -> Result<()> {
    let mut fuse = Fuse::mount(Path::new("/bin/sleep"), u64::MAX >> 1)?;
    // It runs from the page cache, and what is read of it anew does not come.
    let mut duel = Duel::begin(&[])?;
    let file = fuse.file().display().to_string();
    if answered == 0 {
        fuse.be_silent()?;
    }
    let attack = Attack::start(&duel.bad, &["run", &file])?;
    thread::sleep(Duration::from_secs(1));
    if answered > 0 {
        fuse.be_silent()?;
    }
    thread::sleep(Duration::from_secs(8));
    duel.judge()?;
    end(&mut duel.agent, signal)?;
    // Only then whoever waits for it can end.
    drop(fuse);
    drop(attack);
    Ok(())
}

#[test]
fn an_executable_that_is_never_answered_for_stops_nobody() -> Result<()> {
    silent_executable(0, Signal::TERM)
}

#[test]
fn an_executable_that_stops_answering_while_it_runs_stops_nobody() -> Result<()> {
    silent_executable(1, Signal::KILL)
}

#[test]
fn arguments_that_stop_answering_stop_nobody() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let page: PathBuf = folder.path().join("page");
    std::fs::write(&page, vec![b'x'; 8192])?;
    for signal in [Signal::TERM, Signal::KILL] {
        // Whoever reads it waits. The kernel shows no arguments out of files (`FOLL_ANON` in fs/proc/base.c), and must not do
        // so by a way that this finds.
        let fuse = Fuse::mount(&page, 0)?;
        let mut duel = Duel::begin(&[])?;
        let file = fuse.file().display().to_string();
        let attack = duel.attack(&["hidden_arguments", &file], WITHIN)?;
        thread::sleep(Duration::from_secs(6));
        duel.judge()?;
        end(&mut duel.agent, signal)?;
        drop(fuse);
        drop(attack);
    }
    Ok(())
}
