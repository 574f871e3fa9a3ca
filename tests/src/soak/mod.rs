//! A long run at an even, high load: whether the agent's memory stays flat, whether it loses nothing, how long it takes
//! to answer. What it counted is held against what the clients and the streams' server did.

pub mod exchanges;
pub mod report;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use self::exchanges::{Exchanges, PER_SECOND};
use crate::{
    agent::Agent,
    bench::{
        server::Server,
        stream_load::{Rate, StreamLoad},
        usage::resident_mebibytes,
    },
    cgroup::Cgroup,
    http,
    metrics::Metrics,
    process::PATIENCE,
};

/// Streams that are open all the time.
pub const STREAMS: u32 = 2000;

/// Between two chunks of a stream.
const CHUNK_EVERY: Duration = Duration::from_secs(1);

/// Between two scrapes.
const SCRAPED_EVERY: Duration = Duration::from_secs(1);

/// Part of the run before memory is looked at: by then every table has the size that it needs.
const WARM_UP: f64 = 0.2;

/// How much larger memory may be in the last third of what is looked at than in the first.
const FLAT_WITHIN: f64 = 0.05;

/// The longest time that 99 of 100 scrapes may take.
const SCRAPE_P99: Duration = Duration::from_millis(50);

/// Part of the exchanges that must have been made for the load to mean what it says.
const MADE: f64 = 0.95;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How long the load lasted.
    pub duration: Duration,
    /// Exchanges that the clients made.
    pub exchanges: u64,
    /// Exchanges that the agent counted.
    pub exchanges_counted: u64,
    /// Chunks that the server wrote.
    pub chunks: u64,
    /// Chunks that the agent counted.
    pub chunks_counted: u64,
    /// Streams that the agent saw end as they did.
    pub streams_completed: u64,
    /// All of `observer_records_lost_total`.
    pub lost: u64,
    /// Resident memory in MiB at each scrape after the warm-up.
    pub memory: Vec<f64>,
    /// Descriptors that the agent had open at the first and at the last of them.
    pub descriptors: [usize; 2],
    /// How long each scrape took.
    pub scrapes: Vec<Duration>,
}

/// Loads two targets for `duration`, in whole seconds.
pub fn run(duration: Duration) -> Result<Outcome> {
    let server = Server::start()?;
    let cgroup = Cgroup::create("observer-soak")?;
    let chunks = u32::try_from(duration.as_secs()).context("that is too long")?;
    let load = StreamLoad::start(&cgroup, Rate { streams: STREAMS, chunks, interval: CHUNK_EVERY })?;
    let selectors = [server.cgroup().selector(), cgroup.selector()];
    let [of_server, of_streams] = selectors.each_ref();
    let agent = Agent::start([
        "--docker-socket",
        "",
        "--target",
        of_server.as_str(),
        "--target",
        of_streams.as_str(),
    ])?;
    let mut streams = load.open()?;
    let clients = Exchanges::start(server.address(), duration);
    let (mut memory, mut scrapes, mut descriptors) = (Vec::new(), Vec::new(), Vec::new());
    let begun = Instant::now();
    while begun.elapsed() < duration {
        thread::sleep(SCRAPED_EVERY);
        scrapes.push(scrape(&agent)?);
        if begun.elapsed() > duration.mul_f64(WARM_UP) {
            memory.push(resident_mebibytes(agent.pid())?);
            descriptors.push(fs::read_dir(format!("/proc/{}/fd", agent.pid()))?.count());
        }
    }
    let exchanges = clients.finish()?;
    streams.wait_done()?;
    streams.close()?;
    let chunks = u64::from(STREAMS) * u64::from(chunks);
    let counted = |metrics: &Metrics| {
        [
            metrics.count("chat_http_requests_total", &[]),
            metrics.count("chat_stream_chunks_total", &[("direction", "sent")]),
            metrics.count("chat_streams_total", &[("outcome", "completed")]),
        ]
    };
    let done = [exchanges, chunks, STREAMS.into()];
    let metrics = agent.scrape_until(PATIENCE, |metrics| counted(metrics) == done)?;
    let [exchanges_counted, chunks_counted, streams_completed] = counted(&metrics);
    let ends = (descriptors.first().copied(), descriptors.last().copied());
    let (Some(first), Some(last)) = ends else { anyhow::bail!("the run was too short to look at anything") };
    Ok(Outcome {
        duration,
        exchanges,
        exchanges_counted,
        chunks,
        chunks_counted,
        streams_completed,
        lost: metrics.count("observer_records_lost_total", &[]),
        memory,
        descriptors: [first, last],
        scrapes,
    })
}

/// How long one scrape takes, from connecting to the last byte.
fn scrape(agent: &Agent) -> Result<Duration> {
    let begun = Instant::now();
    let answer = http::get(agent.address(), "/metrics")?;
    ensure!(answer.status == 200, "/metrics answered {}: {}", answer.status, answer.text());
    Ok(begun.elapsed())
}

impl Outcome {
    /// Median memory in MiB in the first and in the last third.
    pub fn memory_thirds(&self) -> [f64; 2] {
        let third = self.memory.len().div_ceil(3);
        let (first, last) = (&self.memory[..third], &self.memory[self.memory.len() - third..]);
        [first, last].map(|third| quantile(third, 0.5).unwrap_or(f64::NAN))
    }

    /// By which part memory has grown.
    pub fn growth(&self) -> f64 {
        let [first, last] = self.memory_thirds();
        last / first - 1.0
    }

    /// The time that this part of the scrapes kept.
    pub fn scrape(&self, part: f64) -> Duration {
        let seconds: Vec<f64> = self.scrapes.iter().map(Duration::as_secs_f64).collect();
        Duration::from_secs_f64(quantile(&seconds, part).unwrap_or_default())
    }

    /// Fails where something was lost, or memory was not flat: what holds on any machine.
    pub fn require_nothing_lost(&self) -> Result<()> {
        let made = [self.exchanges, self.chunks, STREAMS.into()];
        let counted = [self.exchanges_counted, self.chunks_counted, self.streams_completed];
        ensure!(made == counted, "exchanges, chunks and streams: {made:?} made, {counted:?} counted");
        ensure!(self.lost == 0, "{} records lost", self.lost);
        ensure!(self.growth() <= FLAT_WITHIN, "memory in MiB grew: {:?}", self.memory);
        ensure!(self.descriptors[1] <= self.descriptors[0], "open descriptors: {:?}", self.descriptors);
        Ok(())
    }

    /// Fails where the load was less than it says or scrapes took too long, which another load on the machine does too.
    pub fn require_pace(&self) -> Result<()> {
        let due = f64::from(PER_SECOND) * self.duration.as_secs_f64();
        ensure!(self.exchanges as f64 >= due * MADE, "{} exchanges made, of {due}", self.exchanges);
        let p99 = self.scrape(0.99);
        ensure!(p99 <= SCRAPE_P99, "1 of 100 scrapes took {p99:?} or longer");
        Ok(())
    }
}

/// The value that `part` of the values do not exceed; `None` where there are none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(position.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            duration: Duration::from_secs(2),
            exchanges: 10_000,
            exchanges_counted: 10_000,
            chunks: 4000,
            chunks_counted: 4000,
            streams_completed: 2000,
            lost: 0,
            memory: vec![20.0, 19.0, 20.0, 90.0, 21.0, 20.0, 20.0],
            descriptors: [30, 30],
            scrapes: (1..=100).map(Duration::from_millis).collect(),
        }
    }

    #[test]
    fn the_value_that_a_part_keeps_is_one_of_the_values() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.99), Some(3.0));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(outcome().scrape(0.99), Duration::from_millis(99));
    }

    #[test]
    fn a_spike_is_no_growth_and_a_slope_is() {
        outcome().require_nothing_lost().unwrap();
        let memory = (0..30).map(|step| 20.0 + f64::from(step) * 0.1).collect();
        assert!(Outcome { memory, ..outcome() }.require_nothing_lost().is_err());
    }

    #[test]
    fn one_of_each_is_one_too_many() {
        for worse in [
            Outcome { exchanges_counted: 9999, ..outcome() },
            Outcome { chunks_counted: 4001, ..outcome() },
            Outcome { streams_completed: 1999, ..outcome() },
            Outcome { lost: 1, ..outcome() },
            Outcome { descriptors: [30, 31], ..outcome() },
        ] {
            assert!(worse.require_nothing_lost().is_err(), "{worse:?}");
        }
    }

    #[test]
    fn a_run_keeps_its_pace_only_at_full_load_and_with_quick_scrapes() {
        assert!(outcome().require_pace().is_err(), "a scrape of 99 ms");
        let quick = Outcome { scrapes: vec![Duration::from_millis(9)], ..outcome() };
        quick.require_pace().unwrap();
        assert!(Outcome { exchanges: 9000, ..quick }.require_pace().is_err());
    }
}
