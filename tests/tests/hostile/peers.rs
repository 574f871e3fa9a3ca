//! Connects to everything there is.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::{
    bench::usage::resident_mebibytes,
    cgroup::Cgroup,
    hostile::Duel,
    metrics::Metrics,
    process::{Background, PATIENCE},
};

/// How long an attack may take, on a busy machine.
const WITHIN: Duration = Duration::from_mins(2);

/// Ports and addresses that the attack connects to.
const CONNECTS: u64 = (60_000 - 1024) + 40_000;

/// Connects of a target, to peers of one name or of any.
fn connects(metrics: &Metrics, labels: &[(&str, &str)]) -> u64 {
    let outbound = [labels, &[("direction", "outbound")]].concat();
    metrics.count("chat_tcp_connect_failures_total", labels)
        + metrics.count("chat_tcp_connections_opened_total", &outbound)
}

#[test]
fn whoever_connects_to_everything_leaves_others_their_names() -> Result<()> {
    let mut duel = Duel::begin(&[])?;
    let before = resident_mebibytes(duel.agent.pid())?;
    let attack = duel.attack(&["peers"], WITHIN)?;
    let mut python = duel.good.cgroup.command("/usr/bin/python3");
    python.args(["-c", "import socket; socket.socket().connect_ex(('127.8.8.8', 5432))"]);
    Background::start(&mut python)?.finish(PATIENCE)?;
    let of = |cgroup: &Cgroup| cgroup.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (bad, container) = (of(&duel.bad), duel.good.container());
    let judged = duel.judge()?;
    let all = connects(&judged.metrics, &[("container", &bad)]);
    ensure!(all == CONNECTS, "{all} of {CONNECTS} connects, whatever their peers are called");
    let named = connects(&judged.metrics, &[("container", &container), ("peer", "postgresql")]);
    ensure!(named == 1, "{named} connects of the good target to PostgreSQL");
    ensure!(duel.is_over(&judged.metrics, "peers"), "it is not said");
    let grown = resident_mebibytes(duel.agent.pid())? - before;
    ensure!(grown < 16.0, "{grown} MiB more");
    drop(attack);
    duel.agent.stop()?;
    Ok(())
}
