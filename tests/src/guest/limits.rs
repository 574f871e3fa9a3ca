//! Limits of a cgroup v2 that the kernel enforces: a quota of CPU time, and memory whose end a process meets.
//! The host of the other tests has these controllers in v1 only, or not at all.

use std::{
    fs,
    hint::black_box,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::observe;
use crate::{
    cgroup::{self, Cgroup},
    process::{Background, PATIENCE, own_program},
};

/// The memory limit, and what a process takes that is to meet it.
const LIMIT_BYTES: usize = 64 << 20;
const TOO_MUCH_BYTES: usize = 4 * LIMIT_BYTES;
/// Processes that meet it.
const KILLED: u32 = 3;

/// A fifth of a CPU: quota and period in microseconds, and for how long a process asks for a whole one.
const QUOTA: &str = "20000 100000";
const ASKED_FOR: Duration = Duration::from_secs(4);

/// How much the agent's CPU time may differ from the process' own, which ends a moment before.
const SLACK: f64 = 0.2;

/// Sets both limits and meets them; says how often and how much.
pub fn test() -> Result<String> {
    let root = cgroup::root()?;
    write(&root.join("cgroup.subtree_control"), "+cpu +memory")?;
    let cgroup = Cgroup::create("limits")?;
    write(&cgroup.path().join("memory.max"), &LIMIT_BYTES.to_string())?;
    write(&cgroup.path().join("cpu.max"), QUOTA)?;
    let agent = observe(&cgroup)?;
    let limit = agent.scrape()?.sum("chat_container_memory_limit_bytes", &[]);
    ensure!((limit - LIMIT_BYTES as f64).abs() < 0.5, "a limit of {LIMIT_BYTES} shows as {limit}");

    let metric = |name: &str| Ok::<f64, anyhow::Error>(agent.scrape()?.sum(name, &[]));
    let usage_before = metric("chat_container_cpu_usage_seconds_total")?;
    let spinner = Background::start(cgroup.command(own_program("guest")?).arg("spin"))?;
    let ended = spinner.finish(ASKED_FOR + PATIENCE)?;
    let own = ended.output.lines().find_map(|line| line.strip_prefix("used ")?.parse::<f64>().ok());
    let own = own.with_context(|| format!("the process does not tell its CPU time: {}", ended.output))?;
    let used = metric("chat_container_cpu_usage_seconds_total")? - usage_before;
    let throttled = metric("chat_container_cpu_throttled_seconds_total")?;
    ensure!((used - own).abs() < SLACK, "the process used {own} s, and the metrics say {used}");
    let kept = ASKED_FOR.as_secs_f64() - own;
    ensure!(throttled > kept / 2.0, "it was kept from running for {kept} s, and the metrics say {throttled}");

    for _ in 0..KILLED {
        let eater = Background::start(cgroup.command(own_program("guest")?).arg("eat"))?;
        let ended = eater.finish(ASKED_FOR + PATIENCE * 3)?;
        let killed = ended.status.signal() == Some(Signal::KILL.as_raw());
        ensure!(
            killed,
            "the process that took too much memory ended with {}: {}",
            ended.status,
            ended.output
        );
    }
    let kills = metric("chat_container_oom_kills_total")?;
    ensure!((kills - f64::from(KILLED)).abs() < 0.5, "{KILLED} were killed, and the metrics say {kills}");
    agent.stop()?;
    Ok(format!("{used:.1} s of CPU in {} s, {KILLED} kills", ASKED_FOR.as_secs()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {text} to {}", file.display()))
}

/// Asks for a whole CPU for a while, then says how much of it came.
pub fn spin() -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < ASKED_FOR {
        black_box(begun);
    }
    println!("used {}", own_cpu_seconds()?);
    Ok(())
}

/// CPU time of this process: the fields `utime` and `stime` of proc(5), in the ticks of every Linux.
fn own_cpu_seconds() -> Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    let (_, fields) = text.rsplit_once(") ").context("/proc/self/stat has no name")?;
    let ticks = |field: usize| fields.split(' ').nth(field).and_then(|ticks| ticks.parse::<f64>().ok());
    let both = ticks(11).zip(ticks(12)).context("/proc/self/stat has no times")?;
    Ok((both.0 + both.1) / TICKS_PER_SECOND)
}

/// Takes more memory than there is, page by page.
pub fn eat() {
    let mut taken = vec![0_u8; TOO_MUCH_BYTES];
    for byte in taken.iter_mut().step_by(4096) {
        *byte = 1;
    }
    black_box(&taken);
}
