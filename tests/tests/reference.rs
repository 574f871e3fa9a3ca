//! The reference of all metrics against a live scrape: each metric that is served is in the reference and in
//! docs/metrics.md, and each of the reference is served, except for those that this host cannot show.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tests::{
    agent::{self, Agent},
    cgroup::{Cgroup, Companions},
    http::{
        self,
        server::{Kind, Server},
    },
    metrics::Metrics,
    nodejs::{self, Steps},
    process::PATIENCE,
    puppet::{self, Puppet},
    streams::server::StreamServer,
};

/// The program of [`Puppet`].
const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

/// Metrics that a host or a target need not have, and why.
const MAY_BE_ABSENT: &[(&str, &str)] = &[("chat_container_memory_limit_bytes", "the target has no limit")];

/// Switches the kernel's run-time statistics on for as long as it lives.
struct Statistics {
    before: String,
}

impl Statistics {
    const FILE: &'static str = "/proc/sys/kernel/bpf_stats_enabled";

    fn on() -> Result<Self> {
        let before = fs::read_to_string(Self::FILE)?;
        fs::write(Self::FILE, "1").with_context(|| format!("cannot write {}", Self::FILE))?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(Self::FILE, self.before.trim()) {
            eprintln!("error: cannot put {} back to {}: {error}", Self::FILE, self.before.trim());
        }
    }
}

/// Names and types of the rows of the markdown tables.
fn rows(markdown: &str) -> BTreeMap<String, String> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?.to_owned();
        let kind = cells.next()?.split(',').next()?.to_owned();
        Some((name, kind))
    };
    markdown.lines().filter_map(row).collect()
}

/// Names and types of the families of a scrape.
fn families(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// A scrape of an agent that has had something to say on every subject.
fn full_scrape() -> Result<String> {
    let folder = TempDir::new()?;
    let file = folder.path().join("observer.toml");
    fs::write(
        &file,
        "[limits]\nprocess_roles = 1\npeers = 2\n[processes]\npss = true\n[docker]\nsocket = \"\"\n",
    )?;
    let cgroup = Cgroup::create("reference")?;
    let mut puppet = Puppet::start(PUPPET, &cgroup)?;
    let _companions = Companions::of(&cgroup, puppet.pid())?;
    // A second role, for which there is no room; nor is there for a second peer.
    let _second = tests::process::Background::start(cgroup.command("sleep").arg("1000"))?;
    let _statistics = Statistics::on()?;
    let streams = StreamServer::start(&cgroup)?;
    let elsewhere = Cgroup::create("reference-elsewhere")?;
    let model = StreamServer::start(&elsewhere)?;
    let relay = Server::start(Kind::Node(&[]), &cgroup, Ipv4Addr::LOCALHOST.into())?;
    let target = format!("{},app=litserve", cgroup.selector());
    let agent = Agent::start(["--config", &file.display().to_string(), "--target", &target])?;
    exchanges([&streams, &model], &relay, &cgroup, &agent)?;
    let node = nodejs::executable(22)?;
    let mut steps = Steps::start(&cgroup, &[&node, Path::new("--expose-gc")], "collections.js", &[])?;
    steps.proceed()?;
    let inside = puppet.listen()?;
    puppet::call(inside, 1000)?;
    puppet.call(puppet::echo(Ipv4Addr::LOCALHOST.into())?, 1000)?;
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    ensure!(puppet.call(nobody, 1).is_err(), "something listens on {nobody}");
    let ready = |metrics: &Metrics| {
        metrics.sum("chat_tcp_connections_closed_total", &[]) >= 2.0
            && metrics.sum("chat_tcp_connect_failures_total", &[]) >= 1.0
            && metrics.sum("chat_processes", &[]) >= 2.0
            && metrics.sum("chat_streams_total", &[]) >= 1.0
            && metrics.sum("chat_app_events_total", &[]) >= 1.0
            && metrics.sum("chat_http_self_requests_total", &[]) >= 1.0
            && metrics.sum("chat_upstream_requests_total", &[]) >= 2.0
            && metrics.sum("chat_upstream_time_to_first_event_seconds_count", &[]) >= 1.0
            && metrics.sum("chat_nodejs_gc_duration_seconds_count", &[]) >= 1.0
            && metrics.sum("chat_nodejs_heap_used_bytes", &[]) >= 1.0
            && metrics.sum("chat_target_over_budget", &[]) >= 1.0
            && metrics.sum("observer_scrape_duration_seconds_count", &[]) >= 1.0
    };
    ensure!(ready(&agent.scrape_until(PATIENCE, ready)?), "not all that was done is counted");
    Ok(http::get(agent.address(), "/metrics")?.text())
}

/// A stream, what a profile calls an event, a server's call to itself, and two to others, one of which streams.
fn exchanges(
    [streams, model]: [&StreamServer; 2],
    relay: &Server,
    cgroup: &Cgroup,
    agent: &Agent,
) -> Result<()> {
    let stream = http::get(streams.address(), "/sse/answer?events=3&interval=10")?;
    ensure!(stream.status == 200 && !stream.body.is_empty(), "{stream:?}");
    let event = http::request(streams.address(), "POST /predict HTTP/1.0\r\nContent-Length: 0\r\n\r\n")?;
    ensure!(event.status == 200, "{event:?}");
    let relayed = http::get(relay.address(), "/relay/1")?;
    ensure!(relayed.status == 200, "{relayed:?}");
    let asked = [
        format!("http://{}/healthz", agent.address()),
        format!("http://{}/sse/answer?id=2&events=3&interval=10", model.address()),
    ];
    for address in asked {
        let fetch = format!("fetch('{address}').then((answer) => answer.text())");
        let fetched = cgroup.command("node").args(["-e", &fetch]).status()?;
        ensure!(fetched.success(), "Node.js cannot fetch {address}: {fetched}");
    }
    Ok(())
}

#[test]
fn the_reference_and_a_live_scrape_name_the_same_metrics() -> Result<()> {
    let printed = Command::new(agent::binary()?).args(["metrics", "--format", "markdown"]).output()?;
    ensure!(printed.status.success(), "{printed:?}");
    let printed = String::from_utf8(printed.stdout)?;
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let written =
        fs::read_to_string(&document).context("no docs/metrics.md: run `cargo xtask metrics-doc`")?;
    ensure!(written == printed, "docs/metrics.md is out of date: run `cargo xtask metrics-doc`");

    let reference = rows(&printed);
    let served = families(&full_scrape()?);
    ensure!(served.len() > 40, "{served:?}");
    for (name, kind) in &served {
        ensure!(reference.get(name) == Some(kind), "{name}, a {kind}, is not so in the reference");
    }
    let absent: BTreeSet<&str> =
        reference.keys().filter(|name| !served.contains_key(*name)).map(String::as_str).collect();
    let expected: BTreeSet<&str> = MAY_BE_ABSENT.iter().map(|(name, _)| *name).collect();
    let missing: Vec<_> = absent.difference(&expected).collect();
    ensure!(missing.is_empty(), "in the reference and not served: {missing:?}");
    for (name, reason) in MAY_BE_ABSENT {
        ensure!(reference.contains_key(*name), "{name} ({reason}) is not in the reference");
    }
    Ok(())
}
