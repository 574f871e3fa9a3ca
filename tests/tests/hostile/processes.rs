//! Many processes, and arguments of any size.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::{hostile::Duel, metrics::Metrics, process::PATIENCE};

/// How long starting them may take, on a busy machine.
const WITHIN: Duration = Duration::from_mins(2);

/// So many processes with so many bytes of arguments; the longest scrape.
fn many(processes: u64, bytes: &str) -> Result<Duration> {
    let mut duel = Duel::begin(&[])?;
    let count = processes.to_string();
    let attack = duel.attack(&["arguments", &count, bytes], WITHIN)?;
    let all = |metrics: &Metrics| metrics.count("chat_processes", &[]);
    let metrics = duel.agent.scrape_until(PATIENCE, |metrics| all(metrics) >= processes)?;
    ensure!(all(&metrics) >= processes, "{} of {processes} processes", all(&metrics));
    std::thread::sleep(Duration::from_secs(3));
    let judged = duel.judge()?;
    drop(attack);
    duel.agent.stop()?;
    Ok(judged.seen.longest)
}

#[test]
fn a_thousand_processes_that_share_megabytes_of_arguments() -> Result<()> {
    let longest = many(1000, "5500000")?;
    ensure!(longest < Duration::from_millis(300), "{longest:?}");
    Ok(())
}

#[test]
fn ten_thousand_processes() -> Result<()> {
    many(10_000, "0")?;
    Ok(())
}
