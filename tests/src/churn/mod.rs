//! Containers that start, make one connection, and end, one after the other: whether the agent misses any, and what it
//! still holds when all are gone. Most are cgroups as a runtime makes them; some are containers of a real Docker.

mod lives;
pub mod report;

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    agent::Agent,
    bench::usage::resident_mebibytes,
    bpf::Held,
    docker::{Daemon, wait_until},
    metrics::Metrics,
};

use self::lives::Lives;

/// Image of the containers.
const IMAGE: &str = "acme/churn:1";

/// How long the series of a target that has gone are served.
const LINGER: &str = "3s";

/// How often what is counted is looked at; more often than that time.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);

/// How much larger memory may be at the end, in MiB.
const MEMORY_WITHIN: f64 = 1.0;

/// How many containers come and go.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Cgroups with a process.
    pub cgroups: usize,
    /// Of Docker.
    pub containers: usize,
    /// In which time.
    pub within: Duration,
}

/// What the agent holds.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Open descriptors.
    pub descriptors: usize,
    /// Links of programs to cgroups and to other things.
    pub links: usize,
    /// Programs and maps.
    pub programs_and_maps: usize,
    /// Resident memory in MiB.
    pub memory: f64,
    /// Series in a scrape.
    pub series: f64,
}

/// Outbound connections of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Calls {
    /// Seen to open.
    opened: u64,
    /// Open before the agent attached.
    late: u64,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was done.
    pub plan: Plan,
    /// How long it took.
    pub took: Duration,
    /// Containers of which the agent counted the one connection.
    pub counted: usize,
    /// Those of them whose connection was open before the agent attached.
    pub late: usize,
    /// Names of those that it missed, or of which it counted something else.
    pub missed: Vec<String>,
    /// All of `observer_records_lost_total`.
    pub lost: u64,
    /// Before the first and after the last.
    pub figures: [Figures; 2],
}

/// Has containers come and go, observed by one agent.
pub fn run(plan: Plan) -> Result<Outcome> {
    let daemon = (plan.containers > 0).then(Daemon::start).transpose()?;
    if let Some(daemon) = &daemon {
        daemon.import_shell(IMAGE)?;
    }
    let lives = Lives::prepare(plan, daemon.as_ref())?;
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let config = folder.path().join("observer.toml");
    let socket = daemon.as_ref().map(Daemon::socket).unwrap_or_default();
    let selectors = lives.selectors();
    let text = format!(
        "[targets]\nselect = {selectors:?}\nlinger = \"{LINGER}\"\n[docker]\nsocket = \"{}\"\n",
        socket.display()
    );
    fs::write(&config, text).context("cannot write the configuration")?;
    let agent = Agent::start(["--config".as_ref(), config.as_os_str()])?;
    // The first scrapes and targets set up what stays.
    lives.rehearse()?;
    settle(&agent)?;
    let before = figures(&agent)?;

    let begun = Instant::now();
    let mut seen: HashMap<String, Calls> = HashMap::new();
    let look = || -> Result<()> {
        remember(&agent.scrape()?, &mut seen);
        Ok(())
    };
    lives.live(LOOKED_AT_EVERY, look)?;
    let took = begun.elapsed();
    let last = agent.scrape()?;
    remember(&last, &mut seen);
    settle(&agent)?;
    let after = figures(&agent)?;

    let names = lives.names();
    let of = |name: &String| seen.get(name).copied().unwrap_or_default();
    let is_counted = |name: &&String| of(name).opened + of(name).late == 1;
    Ok(Outcome {
        plan,
        took,
        counted: names.iter().filter(is_counted).count(),
        late: names.iter().filter(|name| is_counted(name) && of(name).late == 1).count(),
        missed: names.iter().filter(|name| !is_counted(name)).cloned().collect(),
        lost: last.count("observer_records_lost_total", &[]),
        figures: [before, after],
    })
}

/// Waits until the series of all targets are gone.
fn settle(agent: &Agent) -> Result<()> {
    wait_until("no target is left", || {
        agent.scrape().is_ok_and(|metrics| metrics.matching("chat_target_up", &[]).next().is_none())
    })
}

fn figures(agent: &Agent) -> Result<Figures> {
    let metrics = agent.scrape()?;
    let held = Held::by(agent.pid())?;
    Ok(Figures {
        descriptors: fs::read_dir(format!("/proc/{}/fd", agent.pid()))?.count(),
        links: held.links.len(),
        programs_and_maps: held.programs.len() + held.maps.len(),
        memory: resident_mebibytes(agent.pid())?,
        series: metrics.get("observer_series", &[]).context("no count of series")?,
    })
}

/// Keeps what a scrape says of each target's outbound connections: opened, and open before the agent attached.
fn remember(metrics: &Metrics, seen: &mut HashMap<String, Calls>) {
    for (series, _) in metrics.matching("chat_target_up", &[]) {
        let Some(container) = series.labels.get("container") else { continue };
        let of = [("container", container.as_str()), ("direction", "outbound")];
        let calls = seen.entry(container.clone()).or_default();
        calls.opened = calls.opened.max(metrics.count("chat_tcp_connections_opened_total", &of));
        calls.late = calls.late.max(metrics.count("chat_tcp_connections_preexisting_total", &of));
    }
}

impl Outcome {
    /// Fails where a container was missed, something was lost, or something stayed.
    pub fn require(&self) -> Result<()> {
        let [before, after] = &self.figures;
        ensure!(self.missed.is_empty(), "missed: {:?}", self.missed);
        ensure!(self.lost == 0, "{} records lost", self.lost);
        ensure!(after.descriptors <= before.descriptors, "descriptors: {:?}", self.figures);
        ensure!(after.links <= before.links, "links: {:?}", self.figures);
        ensure!(after.programs_and_maps <= before.programs_and_maps, "programs and maps: {:?}", self.figures);
        ensure!(after.memory <= before.memory + MEMORY_WITHIN, "memory: {:?}", self.figures);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(after: Figures, missed: &[&str], lost: u64) -> Outcome {
        let plan = Plan { cgroups: 3, containers: 0, within: Duration::from_secs(1) };
        let missed = missed.iter().map(|name| (*name).to_owned()).collect();
        let figures = [figures(), after];
        Outcome { plan, took: plan.within, counted: 3, late: 0, missed, lost, figures }
    }

    fn figures() -> Figures {
        Figures { descriptors: 20, links: 4, programs_and_maps: 30, memory: 21.0, series: 200.0 }
    }

    #[test]
    fn one_more_of_anything_is_a_leak() {
        outcome(Figures { memory: 21.5, ..figures() }, &[], 0).require().unwrap();
        for worse in [
            outcome(Figures { descriptors: 21, ..figures() }, &[], 0),
            outcome(Figures { links: 5, ..figures() }, &[], 0),
            outcome(Figures { programs_and_maps: 31, ..figures() }, &[], 0),
            outcome(Figures { memory: 22.5, ..figures() }, &[], 0),
            outcome(figures(), &["c-7"], 0),
            outcome(figures(), &[], 1),
        ] {
            assert!(worse.require().is_err(), "{worse:?}");
        }
    }

    #[test]
    fn what_was_seen_of_a_target_stays_known_when_its_series_go() {
        let mut seen = HashMap::new();
        let line = |value| {
            let labels = r#"container="c-1",app="",direction="outbound",peer="other""#;
            let up = r#"chat_target_up{container="c-1",app=""} 1"#;
            format!("{up}\nchat_tcp_connections_opened_total{{{labels}}} {value}\n")
        };
        remember(&Metrics::parse(&line(1)).unwrap(), &mut seen);
        remember(&Metrics::parse("").unwrap(), &mut seen);
        assert_eq!(seen["c-1"], Calls { opened: 1, late: 0 });
    }
}
