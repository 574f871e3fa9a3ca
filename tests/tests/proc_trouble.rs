//! What /proc and the cgroup hierarchy may hold: processes that vanish while they are read, names that are no text,
//! and more open files than anyone expects. Every scrape succeeds, with every collector.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tests::{
    agent::Agent,
    cgroup::{self, Cgroup},
    metrics::Metrics,
    process::{Background, PATIENCE},
    puppet::{self, Puppet},
};

/// The program of [`Puppet`].
const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

/// How many files one process of the target holds.
const FILES: usize = 15_000;

/// How many scrapes are made while processes come and go.
const SCRAPES: usize = 50;

/// A scrape in which every collector must have succeeded.
fn whole_scrape(agent: &Agent) -> Result<Metrics> {
    let metrics = agent.scrape()?;
    let mut collectors = 0;
    for (series, success) in metrics.matching("observer_collector_success", &[]) {
        ensure!(success > 0.0, "{series:?} failed");
        collectors += 1;
    }
    ensure!(collectors >= 5, "{collectors} collectors");
    Ok(metrics)
}

#[test]
fn scrapes_succeed_while_processes_vanish_and_with_names_that_are_no_text() -> Result<()> {
    let folder = TempDir::new()?;
    // The name of the process, of its arguments, and of a cgroup that the hierarchy is searched through for.
    let odd_name = OsStr::from_bytes(b"odd\xff\xfe\"\\\n");
    let odd_program = folder.path().join(odd_name);
    fs::copy("/bin/sleep", &odd_program).context("cannot copy /bin/sleep")?;
    let odd_group = cgroup::root()?.join(OsStr::from_bytes(
        &[format!("odd-{}-", std::process::id()).as_bytes(), b"\xff\xfe".as_slice()].concat(),
    ));
    fs::create_dir(&odd_group)?;
    let outcome = scrape_through_trouble(&odd_program);
    fs::remove_dir(&odd_group)?;
    outcome
}

fn scrape_through_trouble(odd_program: &std::path::Path) -> Result<()> {
    let cgroup = Cgroup::create("proc")?;
    let mut puppet = Puppet::start(PUPPET, &cgroup)?;
    let _odd = Background::start(cgroup.command(odd_program).arg("1000"))?;
    let mut brief = Background::start(
        cgroup.command("sh").args(["-c", "while :; do for number in 1 2 3 4; do sleep 0 & done; wait; done"]),
    )?;
    let mut agent = Agent::start([
        "--docker-socket",
        "",
        "--target",
        &cgroup.selector(),
        // Looks at every process of the host.
        "--target",
        "exe:*nonesuch*",
    ])?;
    for _ in 0..SCRAPES {
        let metrics = whole_scrape(&agent)?;
        ensure!(metrics.sum("chat_processes", &[]) >= 3.0, "{:?}", metrics.sum("chat_processes", &[]));
    }
    ensure!(brief.exited()?.is_none(), "no processes came and went: {}", brief.output());
    let metrics = agent.scrape_until(PATIENCE, |metrics| {
        metrics
            .matching("chat_processes", &[])
            .any(|(series, _)| series.labels.get("process").is_some_and(|role| role.starts_with("odd")))
    })?;
    let roles: Vec<_> = metrics.matching("chat_processes", &[]).map(|(series, _)| &series.labels).collect();
    ensure!(roles.iter().any(|labels| labels["process"].starts_with("odd")), "{roles:?}");
    let address = puppet.listen()?;
    puppet::call(address, 100)?;
    let closed = |metrics: &Metrics| metrics.sum("chat_tcp_connections_closed_total", &[]) >= 1.0;
    ensure!(closed(&agent.scrape_until(PATIENCE, closed)?), "the call is not counted");
    let log = agent.process().output();
    ensure!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    // The whole of it is text that Prometheus takes.
    let mut lint = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start promtool: run `cargo xtask setup`")?;
    let text = tests::http::get(agent.address(), "/metrics")?.body;
    std::io::Write::write_all(&mut lint.stdin.take().context("promtool has an input")?, &text)?;
    ensure!(lint.wait()?.success(), "promtool refuses the scrape");
    Ok(())
}

#[test]
fn fifteen_thousand_open_files_are_counted() -> Result<()> {
    let cgroup = Cgroup::create("proc")?;
    let mut puppet = Puppet::start(PUPPET, &cgroup)?;
    puppet.open(FILES)?;
    let address = puppet.listen()?;
    let agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    let counted = whole_scrape(&agent)?.sum("chat_process_open_fds", &[]);
    let shown = fs::read_dir(format!("/proc/{}/fd", puppet.pid()))?.count();
    ensure!(shown > FILES, "the puppet holds {shown} files");
    // From 6.2 on the kernel tells the number itself, with the one that a waiting accept(2) has reserved.
    let numbers = [shown as f64, shown as f64 + 1.0];
    ensure!(numbers.contains(&counted), "{counted} files counted, and {shown} are shown");
    // Connections are found among all these files.
    puppet::call(address, 100)?;
    let closed = |metrics: &Metrics| metrics.sum("chat_tcp_connections_closed_total", &[]) >= 1.0;
    ensure!(closed(&agent.scrape_until(PATIENCE, closed)?), "the call is not counted");
    Ok(())
}
