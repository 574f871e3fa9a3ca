//! Servers of several processes: LitServe, `uvicorn --workers`, Node's cluster and pm2, each with two that serve or work
//! and that are started again when they die. Which process is which is what they say themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{
    apps::{App, free_address, installed},
    cgroup::Cgroup,
    http::python,
    process::{PATIENCE, wait_until},
};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// LitServe with two API servers and two workers.
    LitServe,
    /// `uvicorn --workers 2`.
    Uvicorn,
    /// Node's cluster with two workers.
    Cluster,
    /// `pm2-runtime` with two processes in its cluster mode.
    Pm2,
}

/// A running server; it is killed when this is dropped, and its processes with the cgroup.
pub struct Pool<'c> {
    app: App,
    kind: Kind,
    cgroup: &'c Cgroup,
    _folder: TempDir,
}

/// Ids of processes by role.
pub type Parts = BTreeMap<&'static str, BTreeSet<u32>>;

impl<'c> Pool<'c> {
    /// Starts one in `cgroup` and waits until all of its processes are there.
    pub fn start(kind: Kind, cgroup: &'c Cgroup) -> Result<Self> {
        let address = free_address()?;
        let port = address.port().to_string();
        let folder = TempDir::new().context("cannot make a folder")?;
        let (mut command, ready) = match kind {
            Kind::LitServe => {
                let mut command = cgroup.command("python3");
                command.env("PYTHONPATH", installed("litserve")?).arg(fixture("litserve_pool.py")).arg(port);
                (command, "/health")
            }
            Kind::Uvicorn => {
                let mut command = cgroup.command("python3");
                command.env("PYTHONPATH", python::packages()?).args(["-m", "uvicorn", "asgi:app"]);
                command.args(["--workers", "2", "--port", &port, "--app-dir"]).arg(fixture(""));
                (command, "/")
            }
            Kind::Cluster => {
                let mut command = cgroup.command("node");
                command.arg(fixture("cluster.js")).arg(port);
                (command, "/")
            }
            Kind::Pm2 => {
                let mut command = cgroup.command("node");
                command.arg(installed("pm2/node_modules/pm2/bin/pm2-runtime")?).arg("start");
                command.arg(fixture("served.js")).args(["--instances", "2"]);
                command.env("PORT", port).env("PM2_HOME", folder.path()).env("PM2_DISCRETE_MODE", "true");
                (command, "/")
            }
        };
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let app = App::start(&mut command, address, ready)?;
        let pool = Self { app, kind, cgroup, _folder: folder };
        wait_until("all processes of the server are there", PATIENCE, || Ok(pool.parts().is_ok()))
            .with_context(|| pool.app.output())?;
        Ok(pool)
    }

    /// Where it listens, and what it wrote.
    pub const fn app(&self) -> &App {
        &self.app
    }

    /// The processes that live, by what they say they are; an error while one is missing or there is one too many.
    pub fn parts(&self) -> Result<Parts> {
        let pids = self.cgroup.processes()?.into_iter().map(i32::unsigned_abs);
        let mut alive: BTreeSet<u32> = pids.collect();
        let output = self.app.output();
        let mut take = |said: &dyn Fn(&str) -> Option<u32>| -> BTreeSet<u32> {
            output.lines().filter_map(said).filter(|pid| alive.remove(pid)).collect()
        };
        let main = self.app.pid();
        let started =
            |line: &str| line.split_once("Started server process [")?.1.strip_suffix(']')?.parse().ok();
        let worker = |line: &str| line.strip_prefix("worker ")?.parse().ok();
        let (servers, workers) = (take(&started), take(&worker));
        let tracks = |pid: &u32| {
            let command_line = fs::read_to_string(format!("/proc/{pid}/cmdline"));
            command_line.is_ok_and(|text| text.contains("multiprocessing.resource_tracker"))
        };
        let trackers: BTreeSet<u32> = alive.iter().copied().filter(tracks).collect();
        alive.retain(|pid| *pid != main && !trackers.contains(pid));
        let main = BTreeSet::from([main]);
        let parts = match self.kind {
            Kind::LitServe => Parts::from([
                ("main", main),
                ("http server", servers),
                ("inference worker", workers),
                // The one of which nobody has said anything.
                ("manager", std::mem::take(&mut alive)),
                ("python resource_tracker", trackers),
            ]),
            Kind::Uvicorn => Parts::from([
                ("python uvicorn asgi", main),
                ("python http server", servers),
                ("python resource_tracker", trackers),
            ]),
            Kind::Cluster => Parts::from([("node cluster", main.union(&workers).copied().collect())]),
            Kind::Pm2 => Parts::from([("node pm-runtime start", main), ("node served", workers)]),
        };
        let expected: &[usize] = match self.kind {
            Kind::LitServe => &[2, 2, 1, 1, 1],
            Kind::Uvicorn => &[2, 1, 1],
            Kind::Cluster => &[3],
            Kind::Pm2 => &[1, 2],
        };
        let counts: Vec<usize> = parts.values().map(BTreeSet::len).collect();
        ensure!(counts == expected && alive.is_empty(), "{parts:?}, and {alive:?}");
        Ok(parts)
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pools").join(name)
}
