//! Wrong configuration, wrong arguments and a taken port: what the agent says, how it exits, and that it attached nothing.
//! Then what the flags that change its output do.

use std::{fs, net::TcpListener, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tests::{
    agent::{self, Agent},
    bpf,
    cgroup::Cgroup,
    process::{Ended, PATIENCE, wait_until},
    puppet::{self, Puppet},
};

/// The program of [`Puppet`].
const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

/// A folder with one configuration file, for an agent that would observe `cgroup`.
struct Case {
    cgroup: Cgroup,
    folder: TempDir,
}

impl Case {
    fn new() -> Result<Self> {
        Ok(Self { cgroup: Cgroup::create("configuration")?, folder: TempDir::new()? })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("observer.toml")
    }

    /// Runs the agent on the cgroup to its end, which must leave nothing attached.
    fn run(&self, arguments: &[&str]) -> Result<Ended> {
        let mut command = Command::new(agent::binary()?);
        command.args(["run", "--docker-socket", "", "--target", &self.cgroup.selector()]).args(arguments);
        let ended = agent::run_to_end(&mut command)?;
        ensure!(!ended.output.contains("observing a target"), "it attached: {}", ended.output);
        ensure!(bpf::attached_to(self.cgroup.path())?.is_empty(), "something is still attached");
        Ok(ended)
    }

    /// Runs the agent with a file of this text.
    fn run_with(&self, text: impl AsRef<[u8]>) -> Result<Ended> {
        fs::write(self.file(), text)?;
        let file = self.file();
        self.run(&["--config", file.to_str().context("the path is UTF-8")?])
    }
}

fn expect(ended: &Ended, code: i32, parts: &[&str]) -> Result<()> {
    ensure!(ended.status.code() == Some(code), "{ended:?}");
    for part in parts {
        ensure!(ended.output.contains(part), "`{part}` is not in: {}", ended.output);
    }
    Ok(())
}

#[test]
fn a_wrong_file_exits_with_2_and_says_where_and_what_is_allowed() -> Result<()> {
    let case = Case::new()?;
    let file = case.file().display().to_string();
    let place = |place: &str| format!("{file}:{place}");

    let ended = case.run_with("listen = \"127.0.0.1:0\"\n[targets]\nlingre = \"5m\"\n")?;
    expect(&ended, 2, &[&place("3:1: targets.lingre: "), "unknown field", "`select`, `linger`, `rescan`"])?;
    let ended = case.run_with("[limits]\npeers = \"many\"\n")?;
    expect(&ended, 2, &[&place("2:9: limits.peers: "), "allowed: a whole number from 1 to 1048576"])?;
    let ended = case.run_with("[limits]\nring_bytes = 5000\n")?;
    expect(&ended, 2, &[&place("2:14: limits.ring_bytes: "), "allowed: a power of two from 4096"])?;
    let ended = case.run_with("[targets]\nselect = [\"port:1\", \"web\"]\n")?;
    expect(&ended, 2, &[&place("2:21: targets.select: "), "container:GLOB"])?;
    let ended = case.run_with("[targets\n")?;
    expect(&ended, 2, &[&place("1:")])?;
    // Not text at all.
    expect(&case.run_with(b"\xff\xfe\x00")?, 2, &[&file])?;

    let absent = format!("{file}.absent");
    expect(&case.run(&["--config", &absent])?, 2, &[&absent, "No such file", "--config"])?;
    let folder = case.folder.path().display().to_string();
    expect(&case.run(&["--config", &folder])?, 2, &[&folder, "directory", "--config"])
}

#[test]
fn a_wrong_argument_exits_with_2_and_the_grammar() -> Result<()> {
    let case = Case::new()?;
    let grammar = "container:GLOB, image:GLOB, unit:GLOB, cgroup:PATH, port:N, exe:GLOB or pid:N";
    for (flag, value, allowed) in [
        ("--target", "web", grammar),
        ("--target", "container:[", grammar),
        ("--target", "port:65536", grammar),
        ("--target", "pid:x", grammar),
        ("--listen", "localhost", "ADDRESS:PORT"),
        ("--listen", "127.0.0.1:99999", "ADDRESS:PORT"),
        ("--log-format", "xml", "json"),
        ("--metrics-prefix", "9-lives", "letters, digits and _"),
    ] {
        expect(&case.run(&[flag, value])?, 2, &[flag, value, allowed])?;
    }
    // Only the profiles tell that there is none of that name, and they are read before anything is attached.
    let ended = case.run(&["--target", "port:1,app=nonesuch", "--listen", "127.0.0.1:0"])?;
    ensure!(ended.status.code().is_some_and(|code| code != 0), "{ended:?}");
    ensure!(ended.output.contains("nonesuch") && ended.output.contains("lobechat"), "{ended:?}");
    Ok(())
}

#[test]
fn a_taken_port_exits_with_1_and_its_number() -> Result<()> {
    let case = Case::new()?;
    let taken = TcpListener::bind(("127.0.0.1", 0))?;
    let address = taken.local_addr()?.to_string();
    let port = format!("port {} on 127.0.0.1 is taken", taken.local_addr()?.port());
    expect(&case.run(&["--listen", &address])?, 1, &[&port, "--listen"])
}

#[test]
fn the_prefix_renames_what_is_of_targets_and_json_logs_are_json() -> Result<()> {
    let cgroup = Cgroup::create("configuration")?;
    let mut puppet = Puppet::start(PUPPET, &cgroup)?;
    let mut agent = Agent::start([
        "--docker-socket",
        "",
        "--target",
        &cgroup.selector(),
        "--metrics-prefix",
        "lobechat",
        "--log-format",
        "json",
    ])?;
    puppet::call(puppet.listen()?, 10)?;
    let closed = "lobechat_tcp_connections_closed_total";
    let metrics = agent.scrape_until(PATIENCE, |metrics| metrics.sum(closed, &[]) > 0.0)?;
    let by_peer = metrics.get(closed, &[("direction", "inbound"), ("reason", "peer_close")]);
    ensure!(by_peer == Some(1.0), "the call is not counted");
    for (series, _) in metrics.iter() {
        let known = ["lobechat_", "observer_", "process_"];
        ensure!(known.iter().any(|prefix| series.name.starts_with(prefix)), "{}", series.name);
    }
    for (name, prefix) in [("lobechat_target_up", "lobechat_"), ("observer_targets", "observer_")] {
        ensure!(metrics.matching(name, &[]).next().is_some(), "nothing begins with {prefix}");
    }

    drop(puppet);
    let left = |metrics: &tests::metrics::Metrics| metrics.get("lobechat_target_up", &[]) == Some(0.0);
    ensure!(left(&agent.scrape_until(PATIENCE, left)?), "the target is still up");
    agent.process().signal(rustix::process::Signal::TERM)?;
    let process = agent.process();
    wait_until("the agent has said that it stopped", PATIENCE, || Ok(process.output().contains("stopped")))?;
    let lines = process.output();
    for line in lines.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("not JSON: `{line}` in:\n{lines}"))?;
        for key in ["timestamp", "level", "message"] {
            ensure!(line.get(key).is_some_and(serde_json::Value::is_string), "no {key} in {line}");
        }
    }
    ensure!(lines.lines().count() >= 3, "listening, observing, stopped: {lines}");
    Ok(())
}
