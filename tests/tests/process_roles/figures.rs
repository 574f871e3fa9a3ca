//! What `/proc` says of the processes of each role, beside what the metrics say.
//! Compared are moments at which nothing changed: what was the same before and after a scrape was so during it.

use std::{collections::BTreeMap, fs, time::Instant};

use anyhow::{Context as _, Result, ensure};
use tests::{agent::Agent, metrics::Metrics, pools::Parts, process::PATIENCE};

const TICKS_PER_SECOND: f64 = 100.0;

/// Figures that stand still while nothing happens, by metric; then CPU time in ticks, which may only grow.
#[derive(Debug, PartialEq)]
struct Figures {
    still: BTreeMap<&'static str, u64>,
    ticks: u64,
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// The number after a key.
fn keyed(text: &str, key: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
    Ok(line.split_whitespace().next().context("no number")?.parse()?)
}

fn figures(pids: impl IntoIterator<Item = u32>) -> Result<Figures> {
    let mut figures = Figures { still: BTreeMap::new(), ticks: 0 };
    for pid in pids {
        let status = read(pid, "status")?;
        let mut add = |name, value| *figures.still.entry(name).or_default() += value;
        add("chat_processes", 1);
        add("chat_process_threads", keyed(&status, "Threads:")?);
        add("chat_process_resident_memory_bytes", keyed(&status, "VmRSS:")? * 1024);
        add("chat_process_virtual_memory_bytes", keyed(&status, "VmSize:")? * 1024);
        add("chat_process_proportional_memory_bytes", keyed(&read(pid, "smaps_rollup")?, "Pss:")? * 1024);
        let stat = read(pid, "stat")?;
        // After the name, which may hold spaces; fields 14 and 15 are user and system time (`man 5 proc_pid_stat`).
        let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
        for field in fields.split(' ').skip(11).take(2) {
            figures.ticks += field.parse::<u64>()?;
        }
    }
    Ok(figures)
}

fn all(parts: &Parts) -> Result<BTreeMap<&'static str, Figures>> {
    parts.iter().map(|(role, pids)| Ok((*role, figures(pids.iter().copied())?))).collect()
}

/// Waits until nothing changes during a scrape; that scrape, which must say of each role what `/proc` says.
pub(crate) fn wait_equal(agent: &Agent, parts: &Parts) -> Result<Metrics> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = all(parts)?;
        let metrics = agent.scrape()?;
        let after = all(parts)?;
        let mut wrong = Vec::new();
        for (role, figures) in &before {
            for (name, value) in &figures.still {
                let seen = metrics.get(name, &[("process", role)]);
                if seen.is_none_or(|seen| (seen - *value as f64).abs() > 0.5) {
                    wrong.push(format!("{name} of {role}: {value} in /proc, {seen:?} told"));
                }
            }
            let seconds = metrics.sum("chat_process_cpu_seconds_total", &[("process", role)]);
            // Of those that live; what others of the role had counted is in the metric too.
            if seconds * TICKS_PER_SECOND < figures.ticks as f64 - 0.5 {
                wrong.push(format!("CPU of {role}: {} ticks in /proc, {seconds} s told", figures.ticks));
            }
        }
        if wrong.is_empty() {
            for (role, figures) in &before {
                println!("{role}: {figures:?}");
            }
            return Ok(metrics);
        }
        let still =
            |role: &&str| before.get(role).map(|one| &one.still) == after.get(role).map(|one| &one.still);
        let moved = !parts.keys().all(still);
        ensure!(
            Instant::now() < deadline,
            "{}{}",
            wrong.join("\n"),
            if moved { "\nbut they never stood still" } else { "" }
        );
    }
}
