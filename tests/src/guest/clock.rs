//! The wall clock jumps while requests are counted: an hour ahead, an hour behind, and back, again and again.
//! Only here, where the clock is nobody else's: no namespace has a wall clock of its own.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use super::{observe, requests, service::Service};
use crate::{cgroup::Cgroup, metrics::Metrics};

/// Seconds of each jump; together they come to nothing.
const JUMPS: [i64; 3] = [3600, -7200, 3600];

/// Time between two jumps.
const PAUSE: Duration = Duration::from_millis(300);

/// How far a time that is told may be from the truth, on an emulated machine.
const WITHIN_SECONDS: f64 = 60.0;

/// Plays the load of [`requests`] while the clock jumps; says how often it did.
pub fn test() -> Result<String> {
    let cgroup = Cgroup::create("clock")?;
    let service = Service::start(&cgroup)?;
    let mut agent = observe(&cgroup)?;
    let jumps = AtomicU32::new(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let jumping = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                for seconds in JUMPS {
                    jump(seconds)?;
                    jumps.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
            }
            Ok(())
        });
        let compared = requests::compare(&service, &agent);
        over.store(true, Ordering::Relaxed);
        let jumped = jumping.join().ok().context("the thread that sets the clock panicked")?;
        jumped.and(compared)
    })?;

    jump(JUMPS[0])?;
    let ahead = agent.scrape();
    let now = clock_gettime(ClockId::Realtime).tv_sec;
    jump(-JUMPS[0])?;
    judge(&ahead?, now as f64)?;
    let log = agent.process().output();
    // What an old kernel refuses is said at the start.
    let complains = |line: &str| {
        (line.contains("WARN") || line.contains("ERROR")) && !line.contains("this kernel refuses a program")
    };
    ensure!(!log.lines().any(complains), "{log}");
    agent.stop()?;
    Ok(format!("{} jumps of an hour or two", jumps.load(Ordering::Relaxed)))
}

/// Sets the clock so many seconds ahead.
fn jump(seconds: i64) -> Result<()> {
    let now = clock_gettime(ClockId::Realtime);
    let then = Timespec { tv_sec: now.tv_sec + seconds, ..now };
    clock_settime(ClockId::Realtime, then).context("cannot set the clock")
}

/// No time in the metrics knows of a jump, and start times are told by the clock as it is at the scrape.
fn judge(metrics: &Metrics, now: f64) -> Result<()> {
    const DURATION: &str = "chat_http_request_duration_seconds";
    let all = metrics.sum(&format!("{DURATION}_count"), &[]);
    let short = metrics.sum(&format!("{DURATION}_bucket"), &[("le", "60")]);
    ensure!(all > 0.5 && (all - short).abs() < 0.5, "{} of {all} requests took over a minute", all - short);
    let sum = metrics.sum(&format!("{DURATION}_sum"), &[]);
    ensure!((0.0..all * WITHIN_SECONDS).contains(&sum), "{all} requests took {sum} s");
    let restarts =
        metrics.sum("chat_target_restarts_total", &[]) + metrics.sum("chat_process_restarts_total", &[]);
    ensure!(restarts < 0.5, "{restarts} restarts");
    for name in ["chat_process_start_time_seconds", "process_start_time_seconds"] {
        let start = metrics.get(name, &[]).with_context(|| format!("no {name}"))?;
        // Since the guest has booted.
        ensure!((0.0..600.0).contains(&(now - start)), "{name} is {start} at {now}");
    }
    for (series, success) in metrics.matching("observer_collector_success", &[]) {
        ensure!(success > 0.5, "{series:?} did not succeed");
    }
    Ok(())
}
