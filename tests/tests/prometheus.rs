//! Prometheus itself: `promtool check metrics` on what the agent serves, and a real server that scrapes it.
//! Both are Debian's; `cargo xtask setup` installs them.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    http,
    process::PATIENCE,
    prometheus::Prometheus,
    puppet::{self, Puppet},
};

/// The program of [`Puppet`].
const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

/// How many connections are made each way.
const CALLS: u32 = 7;

/// An agent with a target that has had traffic both ways.
struct Bed {
    agent: Agent,
    _puppet: Puppet,
    cgroup: Cgroup,
}

impl Bed {
    fn new() -> Result<Self> {
        let cgroup = Cgroup::create("prometheus")?;
        let mut puppet = Puppet::start(PUPPET, &cgroup)?;
        let agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
        let (inside, outside) = (puppet.listen()?, puppet::echo(Ipv4Addr::LOCALHOST.into())?);
        for _ in 0..CALLS {
            puppet::call(inside, 1000)?;
            puppet.call(outside, 500)?;
        }
        let closed = |metrics: &tests::metrics::Metrics| {
            metrics.sum("chat_tcp_connections_closed_total", &[]) >= f64::from(2 * CALLS)
        };
        ensure!(closed(&agent.scrape_until(PATIENCE, closed)?), "not all calls are counted");
        Ok(Self { agent, _puppet: puppet, cgroup })
    }
}

/// Fails with what promtool finds wrong with the metrics in `file`.
fn lint(file: &Path) -> Result<()> {
    let output = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::from(File::open(file)?))
        .output()
        .context("cannot start promtool: run `cargo xtask setup`")?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && said.trim().is_empty(), "{}: {said}", file.display());
    Ok(())
}

#[test]
fn promtool_finds_nothing_wrong() -> Result<()> {
    let bed = Bed::new()?;
    let folder = TempDir::new()?;
    let scrape = folder.path().join("metrics.txt");
    fs::write(&scrape, http::get(bed.agent.address(), "/metrics")?.body)?;
    lint(&scrape)?;
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../observer/tests/golden");
    let mut checked = 0;
    for entry in fs::read_dir(&golden).with_context(|| format!("cannot read {}", golden.display()))? {
        lint(&entry?.path())?;
        checked += 1;
    }
    ensure!(checked >= 2, "{checked} golden files");
    // It would find something.
    fs::write(&scrape, "# TYPE chat_calls counter\nchat_calls 1\n")?;
    ensure!(lint(&scrape).is_err(), "promtool finds a counter without _total right");
    Ok(())
}

#[test]
fn a_real_prometheus_scrapes_it_and_answers() -> Result<()> {
    let bed = Bed::new()?;
    let folder = TempDir::new()?;
    let agent = bed.agent.address();
    let job = format!("{{ job_name: observer, static_configs: [{{ targets: ['{agent}'] }}] }}");
    let prometheus = Prometheus::start(&[job], folder.path())?;
    let calls = f64::from(CALLS);
    let name = bed.cgroup.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    for (expression, expected) in [
        ("up".to_owned(), 1.0),
        ("sum(chat_tcp_connections_opened_total)".to_owned(), 2.0 * calls),
        (
            format!(
                "chat_tcp_connections_closed_total{{container=\"{name}\",reason=\"peer_close\",direction=\"inbound\"}}"
            ),
            calls,
        ),
        ("chat_tcp_received_bytes_total{direction=\"inbound\"}".to_owned(), 1000.0 * calls),
        ("chat_tcp_sent_bytes_total{direction=\"outbound\"}".to_owned(), 500.0 * calls),
        // Joined, as dashboards do.
        ("chat_tcp_connections{direction=\"inbound\"}*on(container)chat_target_info".to_owned(), 0.0),
    ] {
        let values = prometheus.query(&expression)?;
        ensure!(values == [expected], "{expression} is {values:?} and not {expected}");
    }
    prometheus.stop()
}
