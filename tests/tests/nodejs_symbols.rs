//! Node.js without its symbols: what cannot be probed is stated with its reason, and everything else works.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    http,
    metrics::Metrics,
    nodejs::{Steps, executable, program},
    process::{Background, PATIENCE},
};

/// How many requests are to be counted.
const REQUESTS: u32 = 20;

/// A copy of one version without the symbols that `strip` takes out.
fn stripped(version: u32, folder: &TempDir) -> Result<PathBuf> {
    let copy = folder.path().join("node");
    fs::copy(executable(version)?, &copy).context("cannot copy Node.js")?;
    let strip = Command::new("strip").arg(&copy).status().context("cannot start strip, of binutils")?;
    ensure!(strip.success(), "strip failed: {strip}");
    Ok(copy)
}

/// The reasons that are given for a program that is not in place somewhere.
fn reasons(metrics: &Metrics, program: &str) -> Vec<String> {
    let labels = [("program", program)];
    let off = metrics.matching("observer_program_attached", &labels).filter(|(_, value)| *value < 0.5);
    off.filter_map(|(series, _)| series.labels.get("reason").cloned()).collect()
}

/// Requests are counted as ever.
fn requests_count(agent: &Agent, cgroup: &Cgroup, node: &Path) -> Result<()> {
    let mut server = Background::start(cgroup.command(node).arg(program("server.js")))?;
    let port = |line: &str| line.strip_prefix("listening ")?.parse().ok();
    let port: u16 = server.wait_for("port", PATIENCE, port)?;
    for _ in 0..REQUESTS {
        let answer = http::get((Ipv4Addr::LOCALHOST, port).into(), "/api/chat")?;
        ensure!(answer.status == 200, "{answer:?}");
    }
    let labels = [("method", "GET"), ("status_code", "200")];
    let all = |metrics: &Metrics| metrics.sum("chat_http_requests_total", &labels);
    let metrics = agent.scrape_until(PATIENCE, |metrics| all(metrics) >= f64::from(REQUESTS))?;
    ensure!((all(&metrics) - f64::from(REQUESTS)).abs() < 0.5, "{} of {REQUESTS} requests", all(&metrics));
    Ok(())
}

/// Runs a version stripped, until the agent has said what it makes of it.
fn observe(version: u32, off: &[&str], on: &[&str]) -> Result<Metrics> {
    let folder = TempDir::new().context("cannot make a folder")?;
    let node = stripped(version, &folder)?;
    let cgroup = Cgroup::create("nodejs-stripped")?;
    let agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    let mut steps = Steps::start(&cgroup, &[&node, "--expose-gc".as_ref()], "collections.js", &[])?;
    let _: String = steps.told("ready")?;
    let probed = |metrics: &Metrics| off.iter().all(|program| !reasons(metrics, program).is_empty());
    let metrics = agent.scrape_until(Duration::from_mins(1), probed)?;
    for program in off {
        let reasons = reasons(&metrics, program);
        ensure!(
            reasons == ["a Node.js executable is stripped of the symbol"],
            "Node.js {version}, {program}: {reasons:?}"
        );
    }
    for program in on {
        ensure!(reasons(&metrics, program).is_empty(), "Node.js {version}: {program} is off");
    }
    steps.proceed()?;
    let _: serde_json::Value = steps.told("collected")?;
    let metrics = agent.scrape()?;
    ensure!(metrics.get("chat_target_up", &[]) == Some(1.0) && metrics.sum("chat_processes", &[]) > 0.5);
    requests_count(&agent, &cgroup, &node)?;
    // Nothing runs it any more, so nothing is to be said of it.
    drop(steps);
    let silent = |metrics: &Metrics| off.iter().all(|program| reasons(metrics, program).is_empty());
    let gone = agent.scrape_until(PATIENCE, silent)?;
    ensure!(silent(&gone), "the executable is gone, and its reasons are not");
    agent.stop()?;
    Ok(metrics)
}

#[test]
fn a_version_that_exports_v8_keeps_collections_and_loses_the_loop() -> Result<()> {
    let metrics = observe(
        20,
        &["nodejs_wait", "nodejs_turn"],
        &["nodejs_pause_begin", "nodejs_pause_end", "nodejs_heap"],
    )?;
    ensure!(metrics.sum("chat_nodejs_gc_duration_seconds_count", &[("kind", "scavenge")]) > 0.5);
    ensure!(metrics.sum("chat_nodejs_heap_used_bytes", &[]) > 1e6);
    ensure!(metrics.sum("chat_nodejs_eventloop_busy_seconds_count", &[]).abs() < 0.5);
    Ok(())
}

#[test]
fn a_version_that_does_not_loses_everything_and_says_so() -> Result<()> {
    let all = ["nodejs_wait", "nodejs_turn", "nodejs_pause_begin", "nodejs_pause_end", "nodejs_heap"];
    let metrics = observe(24, &all, &[])?;
    ensure!(metrics.sum("chat_nodejs_gc_duration_seconds_count", &[]).abs() < 0.5);
    Ok(())
}
