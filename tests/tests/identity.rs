//! A target keeps its number and counts while it is called otherwise, and when its processes end and start in place.
//! The app that it becomes is known by its executable and its port, as an operator's profile says.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    process::{PATIENCE, wait_until},
};

/// Connections of the pool, and what each writes once the app is known.
const POOL: u64 = 5;
const WRITTEN: u64 = 10_000;

/// A process of the test's own that is ordered by lines, and ended when dropped.
struct Ordered {
    child: Child,
    orders: ChildStdin,
}

impl Ordered {
    fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start it")?;
        let orders = child.stdin.take().context("it has an input")?;
        Ok(Self { child, orders })
    }

    /// Waits for a line that it says.
    fn says(&mut self, line: &str) -> Result<()> {
        let output = self.child.stdout.as_mut().context("it has an output")?;
        let mut said = vec![0; line.len() + 1];
        output.read_exact(&mut said)?;
        ensure!(said == format!("{line}\n").into_bytes(), "it says {}", String::from_utf8_lossy(&said));
        Ok(())
    }

    fn order(&mut self, order: &str) -> Result<()> {
        writeln!(self.orders, "{order}").context("it takes orders")
    }
}

impl Drop for Ordered {
    fn drop(&mut self) {
        // Both fail only where it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes connections and counts what comes over them.
fn sink() -> Result<(u16, Arc<AtomicU64>)> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    let port = listener.local_addr()?.port();
    let received = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&received);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let counted = Arc::clone(&counted);
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    counted.fetch_add(length as u64, Ordering::SeqCst);
                }
            });
        }
    });
    Ok((port, received))
}

#[test]
fn a_pool_that_was_open_before_the_app_was_known_is_the_app_s() -> Result<()> {
    let free = TcpListener::bind("127.0.0.1:0").context("cannot listen")?.local_addr()?.port();
    let folder = TempDir::new()?;
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).map(|()| path.display().to_string())
    };
    let profile =
        write("own.toml", format!("name = \"own\"\ndetect = {{ exe = \"node\", ports = [{free}] }}\n"))?;
    let config = format!(
        "profiles.files = [{profile:?}]\n[targets]\nrescan = \"200ms\"\nlinger = \"1s\"\n[docker]\nsocket = \"\"\n"
    );
    let config = write("observer.toml", config)?;

    let (port, received) = sink()?;
    let cgroup = Cgroup::create("identity")?;
    let mut command = cgroup.command("node");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pool.js");
    command.args([script, "127.0.0.1", &port.to_string(), &POOL.to_string()]);
    let agent = Agent::start(["--config", &config, "--target", &cgroup.selector()])?;
    let mut app = Ordered::start(command)?;
    app.says("connected")?;
    let outbound = [("direction", "outbound")];
    let unknown = [("app", ""), outbound[0]];
    let opened = |labels: &[(&str, &str)], metrics: &tests::metrics::Metrics| {
        metrics.count("chat_tcp_connections_opened_total", labels)
    };
    let before = agent.scrape_until(PATIENCE, |metrics| opened(&unknown, metrics) == POOL)?;
    ensure!(opened(&unknown, &before) == POOL, "the pool is counted before the app is known");

    app.order(&format!("listen {free}"))?;
    app.says("listening")?;
    let known = [("app", "own"), outbound[0]];
    let after = agent.scrape_until(PATIENCE, |metrics| opened(&known, metrics) == POOL)?;
    ensure!(opened(&known, &after) == POOL, "the pool is the app's once it is known");
    app.order(&format!("write {WRITTEN}"))?;
    app.says("written")?;
    wait_until("all has come", PATIENCE, || Ok(received.load(Ordering::SeqCst) == POOL * WRITTEN))?;
    // Longer than what has gone is shown.
    thread::sleep(Duration::from_millis(2500));
    let metrics = agent.scrape()?;
    let sent = metrics.count("chat_tcp_sent_bytes_total", &known);
    ensure!(sent == POOL * WRITTEN, "{sent} of {} bytes are shown", POOL * WRITTEN);
    ensure!(opened(&known, &metrics) == POOL, "a connection counts once");
    ensure!(metrics.count("chat_tcp_connections", &known) == POOL, "all are open");
    ensure!(metrics.matching("chat_target_up", &[]).count() == 1, "there is one target");
    ensure!(opened(&[], &metrics) == POOL && metrics.sum("chat_target_restarts_total", &[]) < 0.5);
    agent.stop()?;
    Ok(())
}

#[test]
fn six_restarts_in_place_are_six_and_cpu_time_counts_once() -> Result<()> {
    let cgroup = Cgroup::create("identity-restarts")?;
    let sleeper = || -> Result<Ordered> {
        let mut command = cgroup.command("sh");
        // Some CPU time, so that counting it twice would show.
        command.args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exec sleep 1000"]);
        Ordered::start(command)
    };
    let mut process = sleeper()?;
    // The next regular look is far away.
    let folder = TempDir::new()?;
    let config = folder.path().join("observer.toml");
    fs::write(&config, "[targets]\nrescan = \"1h\"\n[docker]\nsocket = \"\"\n")?;
    let config = config.display().to_string();
    let agent = Agent::start(["--config", &config, "--target", &cgroup.selector()])?;
    for (restart, gap) in (1..).zip([500, 700, 1000, 500, 1500, 600]) {
        drop(process);
        thread::sleep(Duration::from_millis(gap));
        process = sleeper()?;
        let counted =
            |metrics: &tests::metrics::Metrics| metrics.count("chat_target_restarts_total", &[]) == restart;
        let metrics = agent.scrape_until(PATIENCE, counted)?;
        ensure!(counted(&metrics), "restart {restart} is not counted");
    }
    thread::sleep(Duration::from_secs(1));
    let metrics = agent.scrape()?;
    ensure!(metrics.count("chat_target_restarts_total", &[]) == 6);
    let stat = fs::read_to_string(cgroup.path().join("cpu.stat"))?;
    let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<f64>().ok());
    let usage = usage.context("the cgroup has used CPU time")? / 1e6;
    let shown = metrics.sum("chat_container_cpu_usage_seconds_total", &[]);
    ensure!((usage - shown).abs() < 0.2, "{shown} s are shown of {usage} s");
    agent.stop()?;
    Ok(())
}
