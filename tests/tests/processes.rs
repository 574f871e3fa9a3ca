//! Processes and cgroups as the metrics tell of them, beside what /proc and the cgroup files say at that moment.
//! Then processes that vanish while they are read, names that are no text, and a great many open files.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts here are small whole numbers"
)]

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tests::{
    agent::Agent, cgroup, cgroup::Cgroup, docker::Daemon, http, metrics::Metrics, process::Background,
};

const MEMORY_LIMIT: u64 = 256 << 20;
const TICKS_PER_SECOND: f64 = 100.0;
const FILES: usize = 15_000;
/// How long an idle container may take to stand still for a moment.
const STILL_WITHIN: Duration = Duration::from_mins(1);

/// Values by metric and one label's value.
type Values = BTreeMap<String, f64>;

fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The number after a key in a file of lines `key number` or `key: number`.
fn keyed(text: &str, key: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
    let word = line.trim_start_matches(':').split_whitespace().next().context("no number")?;
    Ok(word.parse()?)
}

fn open_files(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Where a process is in the hierarchy of a controller of cgroup v1, else of v2.
fn controller(pid: u32, name: &str) -> Result<PathBuf> {
    let groups = read(format!("/proc/{pid}/cgroup"))?;
    let fields = |line: &str| -> Option<(String, String)> {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        Some((controllers.to_owned(), path.trim_start_matches('/').to_owned()))
    };
    let all: Vec<(String, String)> = groups.lines().filter_map(fields).collect();
    let v1 = all.iter().find(|(controllers, _)| controllers.split(',').any(|own| own == name));
    match v1 {
        Some((_, path)) => Ok(Path::new("/sys/fs/cgroup").join(name).join(path)),
        None => unified(&all),
    }
}

fn unified(groups: &[(String, String)]) -> Result<PathBuf> {
    let (_, path) = groups.iter().find(|(names, _)| names.is_empty()).context("no cgroup v2")?;
    Ok(cgroup::root()?.join(path))
}

/// What the files say of a process that is alone in its container.
fn truth(pid: u32) -> Result<Values> {
    let mut values = Values::new();
    let mut value = |name: &str, value: f64| values.insert(format!("chat_{name}"), value);
    let stat = read(format!("/proc/{pid}/stat"))?;
    // After the name, which may hold spaces; the first one here is field 3 (`man 5 proc_pid_stat`).
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let field = |number: usize| -> Result<u64> { Ok(fields.get(number - 3).context("too short")?.parse()?) };
    let boot = keyed(&read("/proc/stat")?, "btime")?;
    let status = read(format!("/proc/{pid}/status"))?;
    let limits = read(format!("/proc/{pid}/limits"))?;
    value("processes", 1.0);
    value("process_cpu_seconds_total user", field(14)? as f64 / TICKS_PER_SECOND);
    value("process_cpu_seconds_total system", field(15)? as f64 / TICKS_PER_SECOND);
    value("process_threads", field(20)? as f64);
    value("process_start_time_seconds", boot as f64 + field(22)? as f64 / TICKS_PER_SECOND);
    value("process_virtual_memory_bytes", field(23)? as f64);
    // Not field 24 of stat, which newer kernels only estimate.
    value("process_resident_memory_bytes", (keyed(&status, "VmRSS")? * 1024) as f64);
    value("process_open_fds", open_files(pid)? as f64);
    value("process_max_fds", keyed(&limits, "Max open files")? as f64);
    value("process_context_switches_total voluntary", keyed(&status, "voluntary_ctxt_switches")? as f64);
    value("process_context_switches_total involuntary", keyed(&status, "nonvoluntary_ctxt_switches")? as f64);

    let memory = controller(pid, "memory")?;
    let first = |names: [&str; 2]| {
        let text = read(memory.join(names[0])).or_else(|_| read(memory.join(names[1])))?;
        anyhow::Ok(text.trim().parse::<u64>()?)
    };
    let usage = first(["memory.usage_in_bytes", "memory.current"])?;
    let details = read(memory.join("memory.stat"))?;
    let inactive = keyed(&details, "total_inactive_file").or_else(|_| keyed(&details, "inactive_file"))?;
    value("container_memory_usage_bytes", usage as f64);
    value("container_memory_working_set_bytes", usage.saturating_sub(inactive) as f64);
    value("container_memory_limit_bytes", first(["memory.limit_in_bytes", "memory.max"])? as f64);
    let pids = read(controller(pid, "pids")?.join("pids.current"))?;
    value("container_pids", pids.trim().parse()?);
    let groups = read(format!("/proc/{pid}/cgroup"))?;
    let v2 = groups.lines().find_map(|line| line.strip_prefix("0::/")).context("no cgroup v2")?;
    let cpu = read(cgroup::root()?.join(v2).join("cpu.stat"))?;
    value("container_cpu_usage_seconds_total", keyed(&cpu, "usage_usec")? as f64 / 1e6);
    Ok(values)
}

/// The same values as the agent tells them; a word after the name is the value of the label `mode` or `type`.
fn told(metrics: &Metrics, names: &Values) -> Values {
    let value = |name: &str| match name.split_once(' ') {
        None => metrics.sum(name, &[]),
        Some((name, word)) => metrics.sum(name, &[("mode", word)]) + metrics.sum(name, &[("type", word)]),
    };
    names.keys().map(|name| (name.clone(), value(name))).collect()
}

#[test]
fn a_container_s_figures_are_those_of_proc_and_its_cgroup() -> Result<()> {
    let daemon = Daemon::start()?;
    daemon.import_node("acme/chat:2.4.1")?;
    let socket = daemon.socket().display().to_string();
    let agent = Agent::start(["--docker-socket", &socket, "--target", "container:figures"])?;
    let memory = MEMORY_LIMIT.to_string();
    let command = ["acme/chat:2.4.1", "node", "/app/server.js", "0.0.0.0", "8000"];
    daemon.docker(&[&["run", "-d", "--name", "figures", "--memory", &memory], &command[..]].concat())?;
    let pid: u32 = daemon.inspect("figures", "{{.State.Pid}}")?.parse()?;

    let deadline = Instant::now() + STILL_WITHIN;
    let (known, seen) = loop {
        // Whoever asks must not be the one who changes it: nothing of this runs in the container.
        let before = truth(pid)?;
        let metrics = agent.scrape()?.only("container", "figures");
        if before == truth(pid)? && metrics.get("chat_target_up", &[]) == Some(1.0) {
            let told = told(&metrics, &before);
            break (before, told);
        }
        ensure!(Instant::now() < deadline, "the container is never still");
    };
    for (name, value) in &known {
        println!("{name} {value}");
        let seen = seen[name];
        assert!((seen - value).abs() <= value.abs() * 1e-12, "{name}: {value} in the files, {seen} told");
    }
    assert!((known["chat_container_memory_limit_bytes"] - MEMORY_LIMIT as f64).abs() < 0.5);
    assert!(known["chat_process_cpu_seconds_total user"] > 0.0 && known["chat_process_open_fds"] >= 3.0);

    let metrics = agent.scrape()?;
    let id = daemon.inspect("figures", "{{.Id}}")?;
    let digest = daemon.inspect("figures", "{{.Image}}")?;
    let info = [
        ("container", "figures"),
        ("app", ""),
        ("image", "acme/chat:2.4.1"),
        ("image_digest", &digest),
        ("container_id", &id[..12]),
        ("runtime", "docker"),
        ("version", "2.4.1-label"),
    ];
    assert_eq!(metrics.get("chat_target_info", &info), Some(1.0), "{info:?}");
    Ok(())
}

/// One scrape that must be complete: text, and every collector well.
fn whole_scrape(agent: &Agent) -> Result<Metrics> {
    let body = http::get(agent.address(), "/metrics")?.body;
    let metrics = Metrics::parse(&String::from_utf8(body).context("the scrape is not UTF-8")?)?;
    let bad: Vec<_> =
        metrics.matching("observer_collector_success", &[]).filter(|(_, value)| *value < 0.5).collect();
    ensure!(bad.is_empty(), "collectors failed: {bad:?}");
    ensure!(metrics.sum("observer_collector_success", &[]) > 1.5, "collectors tell of themselves");
    Ok(metrics)
}

#[test]
fn odd_and_vanishing_processes_do_not_break_a_scrape() -> Result<()> {
    let cgroup = Cgroup::create("observer-processes")?;
    let agent = Agent::start(["--target", &cgroup.selector()])?;
    let directory = tempfile::tempdir()?;

    let named = directory.path().join(OsStr::from_bytes(b"caf\xe9 \xff\n\")"));
    fs::copy("/bin/sleep", &named)?;
    let sleeper = Background::start(cgroup.command(&named).arg("1000"))?;
    let script = format!(
        "const fs = require('fs'); for (let i = 0; i < {FILES}; i++) fs.openSync('/dev/null'); \
         console.log('opened'); setInterval(() => {{}}, 1e6)"
    );
    let mut opener = Background::start(cgroup.command("node").args(["-e", &script]))?;
    opener.wait_for("files", Duration::from_secs(30), |line| (line == "opened").then_some(()))?;

    let stop = directory.path().join("stop");
    // It bounds itself, should the test die.
    let script = r#"i=0; while [ ! -e "$1" ] && [ $i -lt 100000 ]; do
        /bin/true & /bin/true & /bin/true & /bin/true; i=$((i+1)); done; wait; echo "rounds $i"; exec sleep 1000"#;
    let mut storm = Background::start(cgroup.command("sh").args(["-c", script, "storm"]).arg(&stop))?;
    let mut most = 0.0_f64;
    for _ in 0..20 {
        most = most.max(whole_scrape(&agent)?.sum("chat_processes", &[]));
    }
    // A scrape may fall between two of them; the storm goes on until one was seen.
    while most < 3.5 {
        ensure!(storm.exited()?.is_none(), "the storm ended: {}", storm.output());
        most = most.max(whole_scrape(&agent)?.sum("chat_processes", &[]));
    }
    fs::write(&stop, "")?;
    let rounds = |line: &str| line.strip_prefix("rounds ").and_then(|rounds| rounds.parse::<u32>().ok());
    let rounds = storm.wait_for("end", Duration::from_secs(30), rounds)?;
    println!("{} processes came and went, at most {most} were seen at once", rounds * 4);

    let pids = [sleeper.pid(), opener.pid(), storm.pid()];
    let known = pids.iter().map(|pid| open_files(*pid)).sum::<Result<usize>>()?;
    let calm = |metrics: &Metrics| metrics.sum("chat_processes", &[]) as usize == pids.len();
    agent.scrape_until(Duration::from_secs(10), calm)?;
    let metrics = whole_scrape(&agent)?;
    assert!(
        known > FILES && calm(&metrics),
        "{known} files, {} processes",
        metrics.sum("chat_processes", &[])
    );
    assert_eq!(metrics.sum("chat_process_open_fds", &[]) as usize, known);
    let roles: Vec<_> = metrics.matching("chat_processes", &[]).collect();
    println!("roles: {roles:?}");
    if roles.iter().any(|(series, _)| series.labels.get("process").is_none_or(String::is_empty)) {
        bail!("a process has no role: {roles:?}");
    }
    Ok(())
}
