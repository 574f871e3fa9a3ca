//! The agent, both targets, the counting client and the scraper, from a quiet begin to the judgement.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{Attack, Good, Scrapes, scrapes::Seen};
use crate::{agent::Agent, cgroup::Cgroup, metrics::Metrics, process::PATIENCE};

/// Longest that a scrape may take beside an attack.
const SCRAPE: Duration = Duration::from_millis(500);

/// How long the good target is watched before and after the attack.
const QUIET: Duration = Duration::from_secs(1);

/// An agent that watches a good and a bad target.
pub struct Duel {
    /// The agent.
    pub agent: Agent,
    /// The target that means no harm.
    pub good: Good,
    /// Where the other one is.
    pub bad: Cgroup,
    scrapes: Option<Scrapes>,
}

/// How it went.
pub struct Judged {
    /// The last scrape.
    pub metrics: Metrics,
    /// All of them.
    pub seen: Seen,
}

impl Duel {
    /// Everything is up, and the good target has been watched for a while.
    pub fn begin(arguments: &[&str]) -> Result<Self> {
        let (good, bad) = (Good::start()?, Cgroup::create("bad")?);
        let mut all = vec!["--docker-socket".to_owned(), String::new()];
        for cgroup in [&good.cgroup, &bad] {
            all.extend(["--target".to_owned(), cgroup.selector()]);
        }
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let agent = Agent::start(&all)?;
        Self::with(agent, good, bad)
    }

    /// The same with an agent that was started in another way.
    pub fn with(agent: Agent, mut good: Good, bad: Cgroup) -> Result<Self> {
        let turns = |metrics: &Metrics| metrics.sum("chat_nodejs_eventloop_busy_seconds_count", &[]) > 1.0;
        let metrics = agent.scrape_until(PATIENCE, turns)?;
        ensure!(turns(&metrics), "the good target's loop is not seen");
        good.ask();
        let scrapes = Some(Scrapes::begin(agent.address(), agent.pid(), good.container()));
        thread::sleep(QUIET);
        Ok(Self { agent, good, bad, scrapes })
    }

    /// Lets the bad target do this until it has done its worst.
    pub fn attack(&self, arguments: &[&str], within: Duration) -> Result<Attack> {
        let mut attack = Attack::start(&self.bad, arguments)?;
        attack.done(within)?;
        Ok(attack)
    }

    /// The good target's numbers are exact, and scrapes were quick.
    pub fn judge(&mut self) -> Result<Judged> {
        thread::sleep(QUIET);
        let seen = self.scrapes.take().context("judged twice")?.end()?;
        let asked = self.good.stop_asking()?;
        let container = self.good.container();
        let labels = [("container", container.as_str())];
        // What the kernel half had no room for it has counted as such.
        let lost = |metrics: &Metrics| metrics.count("observer_records_lost_total", &[("kind", "exchange")]);
        let all = |metrics: &Metrics| metrics.count("chat_http_requests_total", &labels) + lost(metrics);
        let metrics = self.agent.scrape_until(PATIENCE, |metrics| all(metrics) >= asked)?;
        println!("{seen:?}, {} of {asked} requests lost", lost(&metrics));
        ensure!(all(&metrics) == asked, "{} of {asked} requests of the good target", all(&metrics));
        ensure!(lost(&metrics) * 50 <= asked, "{} of {asked} requests lost", lost(&metrics));
        let opened = metrics.count("chat_tcp_connections_opened_total", &labels);
        ensure!(opened == asked, "{opened} of {asked} connections of the good target");
        ensure!(seen.longest < SCRAPE, "a scrape took {:?} beside the attack; {seen:?}", seen.longest);
        Ok(Judged { metrics, seen })
    }

    /// Whether the bad target is over a budget.
    pub fn is_over(&self, metrics: &Metrics, what: &str) -> bool {
        let container = self.bad.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let labels = [("container", container.as_str()), ("what", what)];
        metrics.get("chat_target_over_budget", &labels) == Some(1.0)
    }

    /// Open descriptors of the agent.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.agent.pid()))?.count())
    }

    /// CPU time of the agent and of the processes that read for it.
    pub fn cpu(&self) -> Result<Duration> {
        let agent = self.agent.pid();
        let children = fs::read_to_string(format!("/proc/{agent}/task/{agent}/children"))?;
        let all = children.split_ascii_whitespace().map(str::to_owned).chain([agent.to_string()]);
        let mut ticks = 0;
        for pid in all {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
            let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
            ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        }
        Ok(Duration::from_millis(ticks * 10))
    }
}
