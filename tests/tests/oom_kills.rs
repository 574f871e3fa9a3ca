//! Processes that meet the memory limit of their container, also its first one, after which the cgroup is gone.
//! Docker and the exit codes are the truth; nobody scrapes until all have been killed.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus, thread, time::Duration};

use anyhow::{Result, ensure};
use tests::{
    agent::Agent,
    docker::{Daemon, wait_until},
    process::PATIENCE,
};

/// How often Docker starts the container again whose own process is killed.
const RESTARTS: u32 = 2;

/// Kills beside a container's own process.
const KILLED: u32 = 3;

/// Takes twice as much memory with each turn, until the kernel ends it; the containers may have 32 MiB.
const EAT: [&str; 3] = ["sh", "-c", "a=x; while :; do a=$a$a; done"];

/// As a shell, and so Docker, tells of SIGKILL.
fn is_killed(status: ExitStatus) -> bool {
    status.code() == Some(128 + 9) || status.signal() == Some(9)
}

#[test]
fn every_kill_for_want_of_memory_is_counted_once_also_where_the_container_ends_with_it() -> Result<()> {
    let daemon = Daemon::start()?;
    daemon.import_shell("acme/eater:1")?;
    let socket = daemon.socket().display().to_string();
    let agent = Agent::start(["--docker-socket", socket.as_str(), "--target", "container:*"])?;
    let run = |name: &str, options: &[&str], command: &[&str]| {
        let named = format!("--name={name}");
        let limits = ["run", "--detach", "--memory=32m", "--memory-swap=32m", &named];
        daemon.docker(&[&limits[..], options, &["acme/eater:1"], command].concat()).map(drop)
    };
    run("fragile", &[&format!("--restart=on-failure:{RESTARTS}")], &EAT)?;
    run("hungry", &[], &["sh", "-c", "sleep 1000"])?;
    let tells = |template: &str, wanted: &str| {
        daemon.inspect("fragile", template).is_ok_and(|told| told.trim() == wanted)
    };
    for _ in 0..KILLED {
        let status = daemon.run_inside("hungry", &EAT)?;
        ensure!(is_killed(status), "the process that took too much memory ended with {status}");
    }
    wait_until("Docker gives the container up", || {
        tells("{{.RestartCount}}", &RESTARTS.to_string()) && tells("{{.State.Status}}", "exited")
    })?;
    ensure!(tells("{{.State.ExitCode}}", "137"), "its process was not killed");

    let expected = |container: &str, kills: u32| (container.to_owned(), f64::from(kills));
    let expected = [expected("fragile", RESTARTS + 1), expected("hungry", KILLED)];
    let all_there = |metrics: &tests::metrics::Metrics| {
        expected.iter().all(|(container, kills)| {
            let seen = metrics.sum("chat_container_oom_kills_total", &[("container", container)]);
            (seen - kills).abs() < 0.5
        })
    };
    let first = agent.scrape_until(PATIENCE, all_there)?;
    ensure!(all_there(&first), "{expected:?}, and the metrics say otherwise");
    // Nothing comes twice, when what is gone is told and when it is not told again.
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(300));
        ensure!(all_there(&agent.scrape()?), "{expected:?}, and later the metrics say otherwise");
    }
    ensure!(agent.stop()?.success(), "the agent did not end cleanly");
    Ok(())
}
