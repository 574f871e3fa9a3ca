//! Containers of one image share the file of Node.js. Each is counted for itself and once, and one that is no target not at
//! all, though the probes are in its file, too. A container that starts later is counted from its first turn.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::{
    agent::Agent,
    docker::Daemon,
    metrics::Metrics,
    process::{PATIENCE, wait_until},
};

const IMAGE: &str = "acme/shared:1";
/// Blocks its loop as often as its argument says once there is a file `/go`, each time in a turn of its own.
const PROGRAM: &str = r#"
const fs = require("node:fs");
// A busy machine would make turns longer than the blocks in them.
require("node:os").setPriority(-20);
const cell = new Int32Array(new SharedArrayBuffer(4));
let blocks = Number(process.argv[1]);
const wait = setInterval(() => {
  if (!fs.existsSync("/go")) return;
  clearInterval(wait);
  const next = () => {
    if (blocks === 0) { console.log("done"); setInterval(() => {}, 60000); return; }
    blocks -= 1;
    Atomics.wait(cell, 0, 0, 370);
    setTimeout(next, 15);
  };
  setTimeout(next, 15);
}, 20);
"#;

fn start(daemon: &Daemon, container: &str, blocks: usize) -> Result<()> {
    let blocks = blocks.to_string();
    daemon
        .docker(&[
            "run",
            "-d",
            "--network",
            "none",
            "--cap-add",
            "SYS_NICE",
            "--name",
            container,
            IMAGE,
            "node",
            "-e",
            PROGRAM,
            &blocks,
        ])
        .map(drop)
}

fn run(daemon: &Daemon, containers: &[&str]) -> Result<()> {
    for container in containers {
        daemon.docker(&["exec", container, "sh", "-c", ": >/go"])?;
    }
    for container in containers {
        wait_until("a container is done", PATIENCE, || Ok(daemon.logs(container)?.contains("done")))?;
    }
    Ok(())
}

/// Turns of 250 to 500 ms.
fn turns(metrics: &Metrics, container: &str) -> f64 {
    let name = "chat_nodejs_eventloop_busy_seconds_bucket";
    let below = |bound| metrics.sum(name, &[("container", container), ("le", bound)]);
    below("0.5") - below("0.25")
}

#[test]
fn containers_that_share_a_layer_are_counted_each_for_itself() -> Result<()> {
    let daemon = Daemon::start()?;
    daemon.import_node(IMAGE)?;
    let socket = daemon.socket().display().to_string();
    let mut agent = Agent::start(["--docker-socket", &socket, "--target", "container:shared-*"])?;
    for (container, blocks) in [("shared-one", 5), ("shared-two", 3), ("stranger", 4)] {
        start(&daemon, container, blocks)?;
    }
    agent.process().wait_for("probes", Duration::from_mins(1), |line| {
        line.contains("probing an executable").then_some(())
    })?;
    let seen = |metrics: &Metrics| {
        ["shared-one", "shared-two"].iter().all(|container| {
            let name = "chat_nodejs_eventloop_busy_seconds_count";
            metrics.sum(name, &[("container", container)]) > 0.5
        })
    };
    ensure!(seen(&agent.scrape_until(PATIENCE, seen)?), "a container's event loop does not show");
    run(&daemon, &["shared-one", "shared-two", "stranger"])?;
    start(&daemon, "shared-later", 6)?;
    run(&daemon, &["shared-later"])?;

    let metrics = agent.scrape()?;
    for (container, blocks) in [("shared-one", 5.0), ("shared-two", 3.0), ("shared-later", 6.0)] {
        let shown = turns(&metrics, container);
        ensure!((shown - blocks).abs() < 0.5, "{container}: {shown} turns shown, {blocks} were");
    }
    let strangers =
        metrics.matching("chat_nodejs_eventloop_busy_seconds_count", &[("container", "stranger")]);
    ensure!(strangers.count() == 0, "a container that is no target shows");
    let probed = agent.process().output().matches("probing an executable").count();
    ensure!(probed == 1, "one file was probed {probed} times");
    agent.stop()?;
    Ok(())
}
