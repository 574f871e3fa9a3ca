//! Scrapes in a row, as Prometheus would make them only more often: how long each took, and what the good target had.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use crate::{http, metrics::Metrics};

/// Time between two scrapes.
const PAUSE: Duration = Duration::from_millis(100);

/// For how long each thread of a process has waited for a CPU while it could have run (Documentation/scheduler/sched-stats.rst).
fn waited(process: u32) -> Result<HashMap<String, Duration>> {
    let mut waited = HashMap::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        let delay = text.split_ascii_whitespace().nth(1).and_then(|delay| delay.parse().ok());
        let name = task.file_name().to_string_lossy().into_owned();
        waited.insert(name, Duration::from_nanos(delay.unwrap_or_default()));
    }
    Ok(waited)
}

/// Scrapes that go on until they are judged.
pub struct Scrapes {
    stop: Arc<AtomicBool>,
    scraper: JoinHandle<Result<Seen>>,
}

/// What they showed.
#[derive(Debug, Default)]
pub struct Seen {
    /// How many there were.
    pub count: usize,
    /// The longest, without the time for which a thread of the agent waited for a CPU.
    pub longest: Duration,
    /// The longest as the scraper saw it.
    pub longest_with_waits: Duration,
    /// Bytes of the largest.
    pub largest: usize,
}

impl Scrapes {
    /// Begins; the target with this label must be up in each of them.
    pub fn begin(address: SocketAddr, agent: u32, container: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let scraper = thread::spawn(move || {
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) {
                let before = waited(agent)?;
                let begun = Instant::now();
                let answer = http::get(address, "/metrics")?;
                let elapsed = begun.elapsed();
                // What other programs of this machine take is not the agent's.
                let after = waited(agent)?;
                let waits = after.iter().map(|(thread, waited)| {
                    waited.saturating_sub(before.get(thread).copied().unwrap_or_default())
                });
                let waited = waits.max().unwrap_or_default().min(elapsed);
                seen.longest = seen.longest.max(elapsed.saturating_sub(waited));
                seen.longest_with_waits = seen.longest_with_waits.max(elapsed);
                seen.largest = seen.largest.max(answer.body.len());
                seen.count += 1;
                let metrics = Metrics::parse(&answer.text())?;
                let up = metrics.get("chat_target_up", &[("container", &container)]);
                ensure!(up == Some(1.0), "the good target is up as {up:?} in scrape {}", seen.count);
                thread::sleep(PAUSE);
            }
            Ok(seen)
        });
        Self { stop, scraper }
    }

    /// Ends them.
    pub fn end(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.scraper.join().map_err(|_| anyhow!("the scraper panicked"))?.context("a scrape beside an attack")
    }
}
