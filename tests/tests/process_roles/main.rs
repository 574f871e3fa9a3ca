//! Servers of several processes: what the metrics say of each role is what `/proc` says of its processes, one that is
//! killed under load and started again is a restart, every request is counted, and nothing stays of a run that is over.

mod figures;
mod load;

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    metrics::Metrics,
    pools::{Kind, Parts, Pool},
    process::{PATIENCE, wait_until},
};

use self::{figures::wait_equal, load::Load};

/// How long LitServe may take to see that a worker is dead and to start another, on a busy machine.
const REPLACED_WITHIN: Duration = Duration::from_mins(1);
/// How long the load goes on before one is killed, and after another has come.
const LOADED: Duration = Duration::from_secs(2);

fn observe(cgroup: &Cgroup, app: &str, folder: &Path) -> Result<Agent> {
    let config = folder.join("observer.toml");
    fs::write(&config, "[processes]\npss = true\n")?;
    let config = config.to_str().context("not UTF-8")?.to_owned();
    let selector = format!("{},app={app}", cgroup.selector());
    Agent::start(["--config", &config, "--docker-socket", "", "--target", &selector])
}

/// Kills one process of this role and waits until another has taken its place.
fn replace_one(pool: &Pool<'_>, role: &str) -> Result<Parts> {
    let before = pool.parts()?;
    let of_role = before.get(role).with_context(|| format!("no {role} in {before:?}"))?;
    let victim = of_role.iter().copied().find(|pid| *pid != pool.app().pid()).context("nobody to kill")?;
    kill_process(Pid::from_raw(victim.cast_signed()).context("no pid")?, Signal::KILL)?;
    wait_until("another process has taken its place", REPLACED_WITHIN, || {
        Ok(pool.parts().is_ok_and(|parts| !parts.values().any(|pids| pids.contains(&victim))))
    })
    .with_context(|| pool.app().output())?;
    pool.parts()
}

/// Every counter of a process, by its series.
fn counters(metrics: &Metrics) -> Vec<(String, f64)> {
    let counted = metrics
        .iter()
        .filter(|(series, _)| series.name.starts_with("chat_process") && series.name.ends_with("_total"));
    counted.map(|(series, value)| (format!("{series:?}"), value)).collect()
}

fn never_fell(before: &Metrics, after: &Metrics) -> Result<()> {
    let (before, after) = (counters(before), counters(after));
    ensure!(before.len() > 4, "no counters");
    for (series, value) in before {
        let now = after.iter().find(|(other, _)| *other == series).map(|(_, value)| *value);
        ensure!(now.is_some_and(|now| now >= value), "{series} was {value} and is {now:?}");
    }
    Ok(())
}

/// One run of a server that is there before the agent: its roles, then a process of `role` killed under load.
fn loses_one(kind: Kind, app: &str, role: &str, request: &str, route: &str) -> Result<()> {
    let (cgroup, folder) = (Cgroup::create("observer-roles")?, TempDir::new()?);
    let pool = Pool::start(kind, &cgroup)?;
    let agent = observe(&cgroup, app, folder.path())?;
    let before = wait_equal(&agent, &pool.parts()?)?;
    let load = Load::start(pool.app().address(), request);
    std::thread::sleep(LOADED);
    let loaded = agent.scrape()?;
    never_fell(&before, &loaded)?;
    let parts = replace_one(&pool, role)?;
    std::thread::sleep(LOADED);
    let answered = load.stop()?;
    println!("{kind:?}: {answered:?}");
    ensure!(answered.get(&200).is_some_and(|count| *count > 20), "hardly any load: {answered:?}");

    let counted = |metrics: &Metrics, status: u16| {
        let status = format!("{status:03}");
        metrics.sum("chat_http_requests_total", &[("route", route), ("status_code", &status)])
    };
    let equal = |metrics: &Metrics| {
        let all: u64 = answered.values().sum();
        let same = |(status, count): (&u16, &u64)| (counted(metrics, *status) - *count as f64).abs() < 0.5;
        answered.iter().all(same)
            && (metrics.sum("chat_http_requests_total", &[("route", route)]) - all as f64).abs() < 0.5
    };
    let metrics = agent.scrape_until(PATIENCE, equal)?;
    let seen: Vec<_> = metrics.matching("chat_http_requests_total", &[]).collect();
    ensure!(equal(&metrics), "the client has {answered:?}, the metrics {seen:?}");
    never_fell(&loaded, &metrics)?;

    let metrics = wait_equal(&agent, &parts)?;
    for other in parts.keys() {
        let restarts = metrics.get("chat_process_restarts_total", &[("process", other)]);
        ensure!(restarts == Some(f64::from(u8::from(*other == role))), "{other}: {restarts:?}");
    }
    let roles: Vec<_> = metrics.matching("chat_processes", &[]).collect();
    ensure!(roles.len() == parts.len(), "{roles:?}");
    ensure!(metrics.get("chat_target_restarts_total", &[]) == Some(0.0), "the target itself lived on");
    Ok(())
}

#[test]
fn litserve_loses_a_worker_under_load() -> Result<()> {
    let body = r#"{"work": 0.01}"#;
    let request = format!(
        "POST /predict HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    loses_one(Kind::LitServe, "litserve", "inference worker", &request, "/predict")
}

#[test]
fn uvicorn_loses_a_worker_under_load() -> Result<()> {
    loses_one(Kind::Uvicorn, "generic", "python http server", "GET /chat HTTP/1.0\r\n\r\n", "/chat")
}

#[test]
fn a_cluster_of_node_loses_a_worker_under_load() -> Result<()> {
    loses_one(Kind::Cluster, "generic", "node cluster", "GET /chat HTTP/1.0\r\n\r\n", "/chat")
}

#[test]
fn pm2_loses_a_worker_under_load() -> Result<()> {
    loses_one(Kind::Pm2, "generic", "node served", "GET /chat HTTP/1.0\r\n\r\n", "/chat")
}

#[test]
fn of_a_run_that_is_over_only_the_counters_stay() -> Result<()> {
    let (cgroup, folder) = (Cgroup::create("observer-roles")?, TempDir::new()?);
    let agent = observe(&cgroup, "generic", folder.path())?;
    let run = |earlier: Option<Metrics>| -> Result<Metrics> {
        let pool = Pool::start(Kind::Uvicorn, &cgroup)?;
        // The agent has seen it grow, process by process.
        let metrics = wait_equal(&agent, &pool.parts()?)?;
        if let Some(earlier) = earlier {
            never_fell(&earlier, &metrics)?;
        }
        let replaced = metrics.sum("chat_process_restarts_total", &[]);
        ensure!(replaced < 0.5, "{replaced} restarts, but none was replaced");
        kill_process(Pid::from_raw(pool.app().pid().cast_signed()).context("no pid")?, Signal::TERM)?;
        wait_until("the server has ended", PATIENCE, || Ok(cgroup.processes()?.is_empty()))?;
        let empty = |metrics: &Metrics| metrics.sum("chat_processes", &[]) < 0.5;
        let metrics = agent.scrape_until(PATIENCE, empty)?;
        ensure!(empty(&metrics), "processes of a run that is over");
        for name in [
            "chat_process_threads",
            "chat_process_resident_memory_bytes",
            "chat_process_proportional_memory_bytes",
        ] {
            ensure!(metrics.sum(name, &[]) < 0.5, "{name} of a run that is over");
        }
        Ok(metrics)
    };
    let first = run(None)?;
    run(Some(first)).map(drop)
}
