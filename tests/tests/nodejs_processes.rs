//! Several Node.js threads and processes in one target: worker threads stay apart from the main loop, workers of a cluster
//! add up, one that is killed loses nothing, and another agent starts from nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    metrics::Metrics,
    nodejs::{Steps, executable},
    process::{PATIENCE, wait_until},
};

const BUSY: &str = "chat_nodejs_eventloop_busy_seconds";
/// Version that these programs run on; the others differ in nothing that is looked at here.
const VERSION: u32 = 22;

/// Turns of a role between two bounds.
fn turns(metrics: &Metrics, role: &str, from: &str, to: &str) -> f64 {
    let below = |bound| metrics.sum(&format!("{BUSY}_bucket"), &[("process", role), ("le", bound)]);
    below(to) - below(from)
}

fn equal(shown: f64, told: f64, what: &str) -> Result<()> {
    ensure!((shown - told).abs() < 0.5, "{what}: {shown} shown, {told} told");
    Ok(())
}

fn start(cgroup: &Cgroup, name: &str) -> Result<(Agent, Steps)> {
    let mut agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    let node = executable(VERSION)?;
    let mut steps = Steps::start(cgroup, &[&node, "--expose-gc".as_ref()], name, &[])?;
    let _: String = steps.told("ready")?;
    agent.process().wait_for("probes", Duration::from_mins(1), |line| {
        line.contains("probing an executable").then_some(())
    })?;
    steps.proceed()?;
    Ok((agent, steps))
}

#[test]
fn worker_threads_are_apart_from_the_main_loop() -> Result<()> {
    let cgroup = Cgroup::create("nodejs-threads")?;
    let (agent, mut steps) = start(&cgroup, "threads.js")?;
    let main: f64 = steps.told("main")?;
    let worker: f64 = steps.told("worker")?;
    let has_heap = |metrics: &Metrics| {
        metrics.get("chat_nodejs_heap_used_bytes", &[("process", "node threads worker_threads")]).is_some()
    };
    let metrics = agent.scrape_until(PATIENCE, has_heap)?;
    ensure!(has_heap(&metrics), "no heap of the worker thread");
    equal(turns(&metrics, "node threads", "0.1", "0.25"), main, "turns of the main loop")?;
    equal(turns(&metrics, "node threads", "0.25", "0.5"), 0.0, "turns of the worker in the main loop")?;
    let workers = "node threads worker_threads";
    equal(turns(&metrics, workers, "0.25", "0.5"), worker, "turns of the worker")?;
    equal(turns(&metrics, workers, "0.1", "0.25"), 0.0, "turns of the main loop in the worker")?;
    let collected = |role| {
        metrics.sum("chat_nodejs_gc_duration_seconds_count", &[("process", role), ("kind", "mark_compact")])
    };
    ensure!(collected(workers) > 0.5, "the worker's collection is missing");
    equal(collected("node threads"), 0.0, "collections of the main thread")?;
    agent.stop()?;
    Ok(())
}

#[test]
fn a_cluster_adds_up_and_a_killed_worker_loses_nothing() -> Result<()> {
    let cgroup = Cgroup::create("nodejs-cluster")?;
    let (agent, steps) = start(&cgroup, "cluster.js")?;
    let told = |number: usize| {
        wait_until(&format!("{number} workers have blocked"), PATIENCE * 3, || {
            Ok(steps.all_told::<i32>("blocked")?.len() >= number)
        })
    };
    told(2)?;
    let first = *steps.all_told::<i32>("blocked")?.first().context("nobody blocked")?;
    kill_process(Pid::from_raw(first).context("no pid")?, Signal::KILL)?;
    told(3)?;
    let role = "node cluster";
    equal(turns(&agent.scrape()?, role, "0.25", "0.5"), 15.0, "turns of three workers")?;
    for pid in cgroup.processes()?.into_iter().filter_map(Pid::from_raw) {
        kill_process(pid, Signal::KILL).ok();
    }
    let empty = |metrics: &Metrics| metrics.sum("chat_processes", &[]) < 0.5;
    let metrics = agent.scrape_until(PATIENCE, empty)?;
    ensure!(empty(&metrics), "killed processes still show");
    equal(turns(&metrics, role, "0.25", "0.5"), 15.0, "turns after all have ended")?;
    equal(metrics.sum("chat_nodejs_heap_used_bytes", &[]), 0.0, "heaps after all have ended")?;
    agent.stop()?;

    let (again, steps) = start(&cgroup, "cluster.js")?;
    wait_until(
        "two workers have blocked",
        PATIENCE * 3,
        || Ok(steps.all_told::<i32>("blocked")?.len() >= 2),
    )?;
    equal(turns(&again.scrape()?, role, "0.25", "0.5"), 10.0, "turns in another agent's time")?;
    again.stop()?;
    Ok(())
}
