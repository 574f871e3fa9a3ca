//! What a process uses, from /proc, and what a scrape takes.
//! Formats: `man 5 proc_pid_status`; schedstat: Documentation/scheduler/sched-stats.rst.

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::figure::median;
use crate::{agent::Agent, http};

/// Scrapes of which the median is taken.
const SCRAPES: usize = 11;

/// Resident memory of a process in MiB.
pub fn resident_mebibytes(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kibibytes = resident_kibibytes(&status).with_context(|| format!("no VmRSS in {path}"))?;
    Ok(kibibytes / 1024.0)
}

fn resident_kibibytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// CPU time of each thread of a process, by its id. In nanoseconds, where /proc/PID/stat has hundredths of seconds.
#[derive(Clone, Debug, Default)]
pub struct ThreadTimes(HashMap<String, u64>);

impl ThreadTimes {
    /// Of all threads that a process has now.
    pub fn read(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/task");
        let mut times = HashMap::new();
        for thread in fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?.flatten() {
            // A thread that has ended since the list was read has no file.
            let Ok(schedstat) = fs::read_to_string(thread.path().join("schedstat")) else {
                continue;
            };
            let time = schedstat.split(' ').next().and_then(|time| time.parse().ok());
            let name = thread.file_name().to_string_lossy().into_owned();
            times.insert(name, time.with_context(|| format!("no time in schedstat: {schedstat}"))?);
        }
        Ok(Self(times))
    }

    /// CPU time of the thread with this id.
    pub fn of(&self, thread: &str) -> Result<Duration> {
        self.0.get(thread).copied().map(Duration::from_nanos).with_context(|| format!("no thread {thread}"))
    }

    /// CPU time since `before` of the threads that still live.
    pub fn since(&self, before: &Self) -> Duration {
        let times = self
            .0
            .iter()
            .map(|(thread, time)| time.saturating_sub(before.0.get(thread).copied().unwrap_or_default()));
        Duration::from_nanos(times.sum())
    }
}

/// The median time of a scrape, from connecting to the last byte, in milliseconds.
pub fn scrape_milliseconds(agent: &Agent) -> Result<f64> {
    let mut times = Vec::with_capacity(SCRAPES);
    for _ in 0..SCRAPES {
        let start = Instant::now();
        let answer = http::get(agent.address(), "/metrics")?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        if answer.status != 200 {
            bail!("/metrics answered {}: {}", answer.status, answer.text());
        }
    }
    Ok(median(&times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_status() {
        assert_eq!(resident_kibibytes("VmPeak:\t  9 kB\nVmRSS:\t   2048 kB\nThreads:\t1\n"), Some(2048.0));
        assert_eq!(resident_kibibytes("Name:\tkthreadd\n"), None);
        assert!(resident_mebibytes(std::process::id()).unwrap() > 0.1);
    }

    #[test]
    fn threads_that_came_count_and_threads_that_went_do_not() {
        let times = |list: &[(&str, u64)]| {
            ThreadTimes(list.iter().map(|(thread, time)| ((*thread).to_owned(), *time)).collect())
        };
        let before = times(&[("1", 100), ("2", 50)]);
        let after = times(&[("1", 130), ("3", 7)]);
        assert_eq!(after.since(&before), Duration::from_nanos(37));
        assert!(!ThreadTimes::read(std::process::id()).unwrap().0.is_empty());
    }
}
