//! What a saturated Node.js server loses by being observed: requests per second and the slowest answers, as ratios.
//! Three take turns of a second: one that nobody observes, one observed but for its event loop, one by the defaults.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{
    Setup,
    figure::{Budget, Figure, Measured},
    server::{Done, Load, Server},
    statistics::Statistics,
};
use crate::agent::Agent;

/// Rounds of each phase. In a round each server has its turns; between phases they change their parts, so that what one
/// process has over another does not count.
const ROUNDS: usize = 12;

/// As short as wrk takes it: a virtual machine changes its speed by a fifth within seconds, for all three alike if they are
/// close together.
const TURN: Duration = Duration::from_secs(1);

/// How long an agent may take to read the executable's symbols after it is ready.
const SETTLE: Duration = Duration::from_millis(1500);

/// The part of a server: nobody observes it.
const ALONE: usize = 0;
/// The part of a server: with `nodejs.enabled = false`.
const WITHOUT_LOOP: usize = 1;
/// The part of a server: by the defaults.
const WHOLE: usize = 2;
const PARTS: usize = 3;

/// How many figures there are.
const VALUES: usize = 9;

/// What this file measures.
pub(super) static FIGURES: [Figure; VALUES] = [
    Figure {
        name: "requests_without",
        unit: "requests/s",
        budget: None,
        about: "A saturated Node.js server: 16 connections, keep-alive, answers of 200 bytes.",
    },
    Figure {
        name: "requests_http",
        unit: "requests/s",
        budget: None,
        about: "The same while all but its event loop is observed (`nodejs.enabled = false`).",
    },
    Figure {
        name: "requests_with",
        unit: "requests/s",
        budget: None,
        about: "The same while all is observed that is by default.",
    },
    Figure {
        name: "requests_ratio",
        unit: "ratio",
        budget: Some(Budget::AtLeast(0.97)),
        about: "requests_http over requests_without, per round: what HTTP costs.",
    },
    Figure {
        name: "p99_ratio",
        unit: "ratio",
        budget: Some(Budget::AtMost(1.1)),
        about: "Latency that one request in a hundred exceeds, of the same two.",
    },
    Figure {
        name: "nodejs_ratio",
        unit: "ratio",
        budget: Some(Budget::AtLeast(0.95)),
        about: "requests_with over requests_http, per round: what the probes of the event loop cost beside that.",
    },
    Figure {
        name: "nodejs_one_ratio",
        unit: "ratio",
        budget: None,
        about: "The same with one request at a time, when each takes turns of the event loop of its own.",
    },
    Figure {
        name: "whole_ratio",
        unit: "ratio",
        budget: None,
        about: "requests_with over requests_without, per round: what all of it costs.",
    },
    Figure {
        name: "whole_p99_ratio",
        unit: "ratio",
        budget: None,
        about: "Latency that one request in a hundred exceeds, of the same two.",
    },
];

/// Measures all figures of this file.
pub(super) fn measure(setup: &Setup) -> Result<Vec<Measured>> {
    let folder = TempDir::new().context("cannot make a folder")?;
    let servers = servers(folder.path())?;
    let without_loop = folder.path().join("without-loop.toml");
    fs::write(&without_loop, "nodejs.enabled = false\n").context("cannot write a configuration")?;
    let _statistics = Statistics::switch(false)?;
    let mut rounds = vec![Vec::new(); ROUNDS];
    for phase in 0..PARTS {
        let of = |part: usize| &servers[(part + phase) % PARTS];
        let observe = |part: usize, more: &[&str]| {
            let selector = of(part).cgroup().selector();
            Agent::start([&["--docker-socket", "", "--target", &selector], more].concat())
        };
        let agents =
            [observe(WITHOUT_LOOP, &["--config", &without_loop.to_string_lossy()])?, observe(WHOLE, &[])?];
        thread::sleep(SETTLE);
        for (number, values) in rounds.iter_mut().enumerate() {
            values.push(round(setup, number, of)?);
        }
        for agent in agents {
            agent.stop()?;
        }
    }
    let runs = |figure| rounds.iter().map(|phases: &Vec<[f64; VALUES]>| mean(phases, figure)).collect();
    Ok(FIGURES.iter().enumerate().map(|(index, figure)| figure.measured(runs(index))).collect())
}

/// A server for each part. The executables are copies of each other: a probe is put into a file, for all who run it.
fn servers(folder: &Path) -> Result<[Server; PARTS]> {
    let first = Server::start()?;
    let copy = |name: &str| -> Result<PathBuf> {
        let to = folder.join(name);
        fs::copy(first.executable(), &to).context("cannot copy Node.js")?;
        Ok(to)
    };
    let (second, third) = (copy("node-2")?, copy("node-3")?);
    let servers = [Server::start_by(&second)?, Server::start_by(&third)?, first];
    for server in &servers {
        server.warm_up()?;
    }
    Ok(servers)
}

/// One turn of each server, first with many connections and then, of those that are observed, with one; the values of
/// [`FIGURES`].
fn round<'s>(setup: &Setup, number: usize, of: impl Fn(usize) -> &'s Server) -> Result<[f64; VALUES]> {
    let mut many = [None; PARTS];
    for turn in 0..PARTS {
        setup.go_on()?;
        let part = (turn + number) % PARTS;
        many[part] = Some(of(part).load(TURN, Load::KeepAlive)?);
    }
    let mut one = [0.0; PARTS];
    for turn in 0..2 {
        setup.go_on()?;
        let part = WITHOUT_LOOP + (turn + number) % 2;
        one[part] = of(part).load(TURN, Load::OneByOne)?.per_second;
    }
    let many = |part: usize| -> Result<Done> { many[part].context("a server had no turn") };
    let (alone, http, whole) = (many(ALONE)?, many(WITHOUT_LOOP)?, many(WHOLE)?);
    let slowest = |with: Done| with.p99.as_secs_f64() / alone.p99.as_secs_f64();
    Ok([
        alone.per_second,
        http.per_second,
        whole.per_second,
        http.per_second / alone.per_second,
        slowest(http),
        whole.per_second / http.per_second,
        one[WHOLE] / one[WITHOUT_LOOP],
        whole.per_second / alone.per_second,
        slowest(whole),
    ])
}

/// The geometric mean of one figure over the phases.
fn mean(phases: &[[f64; VALUES]], figure: usize) -> f64 {
    let product: f64 = phases.iter().map(|values| values[figure]).product();
    product.powf(1.0 / phases.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_server_has_over_another_does_not_count() {
        // The second server is twice as fast as the others, whatever its part.
        let phases = [2.0, 0.5, 1.0].map(|ratio| {
            let mut values = [1.0; VALUES];
            values[3] = ratio;
            values
        });
        assert!((mean(&phases, 3) - 1.0).abs() < 1e-9);
        assert!((mean(&phases, 4) - 1.0).abs() < 1e-9);
    }
}
