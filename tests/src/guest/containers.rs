//! Docker containers whose limits are real: a quota of CPU time, a memory limit that processes meet, a restart after that.
//! Docker is the truth, and the processes inside. The guest has no bridge, so the containers share its network.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::ExitStatus,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    agent::Agent,
    docker::{Daemon, wait_until},
    metrics::Metrics,
    process::PATIENCE,
};

/// The memory limit in bytes; `guest eat` takes more.
const LIMIT_BYTES: u32 = 64 << 20;
/// Processes that meet it beside the container's own.
const KILLED: u32 = 3;
/// How often Docker starts a container again whose own process met it.
const RESTARTS: u32 = 2;

/// For how long `guest spin` asks for a CPU, of which it gets a fifth.
const ASKED_FOR: Duration = Duration::from_secs(4);
/// The quota, in CPUs, and how many seconds of CPU time more may come before the kernel keeps a container from running.
const QUOTA: f64 = 0.2;
const SLACK: f64 = 0.5;

/// Limits of every container here, and the guest's own programs inside.
const OPTIONS: [&str; 10] = [
    "--network=host",
    "--cpus=0.2",
    "--memory=64m",
    "--memory-swap=64m",
    "--volume=/bin:/own:ro",
    "--volume=/lib:/lib:ro",
    "--volume=/lib64:/lib64:ro",
    "--log-driver=json-file",
    "--stop-timeout=1",
    "--detach",
];

/// Starts the containers and compares; says what happened in them.
pub fn test() -> Result<String> {
    let daemon = Daemon::start_without_networks()?;
    daemon.import_shell("guest:1")?;
    let socket = daemon.socket().display().to_string();
    let agent = Agent::start(["--docker-socket", socket.as_str(), "--target", "container:*"])?;
    let run = |name: &str, options: &[&str], command: &[&str]| {
        let named = format!("--name={name}");
        let all = [&["run", &named], &OPTIONS[..], options, &["guest:1"], command].concat();
        daemon.docker(&all).map(drop)
    };
    let begun = Instant::now();
    run("busy", &[], &["sh", "-c", "/own/guest spin; exec /own/busybox sleep 1000"])?;
    run("hungry", &[], &["/own/busybox", "sleep", "1000"])?;
    throttled(&daemon, &agent, begun)?;
    killed(&daemon, &agent)?;
    run("restarting", &[&format!("--restart=on-failure:{RESTARTS}")], &["/own/guest", "eat"])?;
    restarted(&daemon, &agent)?;
    agent.stop()?;
    Ok(format!("a quota, {KILLED} kills, {RESTARTS} restarts after a kill"))
}

/// The metric of one container.
fn of(metrics: &Metrics, container: &str, name: &str) -> f64 {
    metrics.sum(name, &[("container", container)])
}

/// The container began after `begun`, and starting it took of its quota too.
fn throttled(daemon: &Daemon, agent: &Agent, begun: Instant) -> Result<()> {
    let used = || -> Option<f64> {
        daemon.logs("busy").ok()?.lines().find_map(|line| line.strip_prefix("used ")?.parse().ok())
    };
    wait_until("the busy container is done", || used().is_some())?;
    let own = used().context("it was there before")?;
    let metrics = agent.scrape()?;
    let seen = of(&metrics, "busy", "chat_container_cpu_usage_seconds_total");
    let most = QUOTA * begun.elapsed().as_secs_f64() + SLACK;
    ensure!(own <= seen + 0.01, "the process used {own} s, and the metrics say {seen} for its container");
    ensure!(seen <= most, "the quota allowed {most} s, and the metrics say {seen}");
    let kept = ASKED_FOR.as_secs_f64() - own;
    let throttled = of(&metrics, "busy", "chat_container_cpu_throttled_seconds_total");
    ensure!(throttled > kept / 2.0, "it was kept from running for {kept} s, and the metrics say {throttled}");
    let limit = of(&metrics, "busy", "chat_container_memory_limit_bytes");
    ensure!((limit - f64::from(LIMIT_BYTES)).abs() < 0.5, "a limit of {LIMIT_BYTES} shows as {limit}");
    Ok(())
}

fn killed(daemon: &Daemon, agent: &Agent) -> Result<()> {
    for _ in 0..KILLED {
        let status = daemon.run_inside("hungry", &["/own/guest", "eat"])?;
        ensure!(is_killed(status), "the process that took too much memory ended with {status}");
    }
    let seen = of(&agent.scrape()?, "hungry", "chat_container_oom_kills_total");
    ensure!((seen - f64::from(KILLED)).abs() < 0.5, "{KILLED} were killed, and the metrics say {seen}");
    Ok(())
}

/// As a shell, and so Docker, tells of SIGKILL.
fn is_killed(status: ExitStatus) -> bool {
    status.code() == Some(128 + 9) || status.signal() == Some(9)
}

fn restarted(daemon: &Daemon, agent: &Agent) -> Result<()> {
    let tells = |template: &str, wanted: &str| {
        daemon.inspect("restarting", template).is_ok_and(|told| told.trim() == wanted)
    };
    let given_up =
        || tells("{{.RestartCount}}", &RESTARTS.to_string()) && tells("{{.State.Status}}", "exited");
    wait_until("Docker gives the container up", given_up)?;
    ensure!(tells("{{.State.OOMKilled}}", "true"), "Docker does not say that it was out of memory");
    let begun = Instant::now();
    loop {
        let metrics = agent.scrape()?;
        let restarts = of(&metrics, "restarting", "chat_target_restarts_total");
        let kills = of(&metrics, "restarting", "chat_container_oom_kills_total");
        // The kernel's count goes with the cgroup, which Docker removes at once: none was scraped in between.
        ensure!(kills < f64::from(RESTARTS + 1) + 0.5, "{kills} kills are more than there were");
        if (restarts - f64::from(RESTARTS)).abs() < 0.5 && kills > f64::from(RESTARTS) + 0.5 {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "it was restarted {RESTARTS} times after {} kills, and the metrics say {restarts} and {kills}",
            RESTARTS + 1
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}
