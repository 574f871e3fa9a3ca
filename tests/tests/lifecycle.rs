//! Targets that end, cgroups that vanish while they are attached to, and the agent's own end: by signal, under load, at once.
//! Whatever the end, nothing stays in the kernel.

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    os::unix::process::ExitStatusExt as _,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tests::{
    agent::Agent,
    bpf::{self, Held},
    cgroup::{self, Cgroup},
    http,
    metrics::Metrics,
    nodejs::executable,
    process::{Background, PATIENCE, wait_until},
    puppet::{self, Puppet},
};

/// The program of [`Puppet`].
const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

/// How often a matching cgroup is made and removed.
const FLEETING: usize = 300;

/// How long a stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(1);

fn descriptors(pid: u32) -> Result<usize> {
    let folder = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?.count())
}

fn start(cgroup: &Cgroup) -> Result<Agent> {
    Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])
}

/// Whether the series of this name add up to `value`.
fn is(metrics: &Metrics, name: &str, value: f64) -> bool {
    (metrics.sum(name, &[]) - value).abs() < f64::EPSILON
}

fn has_log_of_trouble(log: &str) -> bool {
    ["WARN", "ERROR", "panicked"].iter().any(|word| log.contains(word))
}

#[test]
fn a_target_whose_process_dies_goes_down_and_comes_back() -> Result<()> {
    let cgroup = Cgroup::create("lifecycle")?;
    let mut puppet = Puppet::start(PUPPET, &cgroup)?;
    let mut agent = start(&cgroup)?;
    puppet::call(puppet.listen()?, 100)?;
    let up = |wanted: f64| move |metrics: &Metrics| metrics.get("chat_target_up", &[]) == Some(wanted);
    ensure!(up(1.0)(&agent.scrape_until(PATIENCE, up(1.0))?), "it is not up");

    drop(puppet);
    ensure!(up(0.0)(&agent.scrape_until(PATIENCE, up(0.0))?), "it is not down without a process");
    let name = cgroup.path().file_name().context("a cgroup has a name")?.to_string_lossy().into_owned();
    drop(cgroup);
    let gone = "a target has gone";
    let process = agent.process();
    wait_until(gone, PATIENCE, || Ok(process.output().contains(gone)))?;
    ensure!(up(0.0)(&agent.scrape()?), "its series do not stay for a while");

    let cgroup = Cgroup::named(name)?;
    let mut puppet = Puppet::start(PUPPET, &cgroup)?;
    let attached = || Ok(bpf::attached_to(cgroup.path())?.len() == 3);
    wait_until("the cgroup of the same name is observed", PATIENCE, attached)?;
    puppet::call(puppet.listen()?, 100)?;
    let back = |metrics: &Metrics| {
        up(1.0)(metrics)
            && is(metrics, "chat_tcp_connections_closed_total", 2.0)
            && is(metrics, "chat_target_restarts_total", 1.0)
    };
    let metrics = agent.scrape_until(PATIENCE, back)?;
    ensure!(back(&metrics), "the calls before and after, and one restart, are not counted");
    ensure!(!has_log_of_trouble(&agent.process().output()), "{}", agent.process().output());
    Ok(())
}

#[test]
fn cgroups_that_vanish_while_they_are_attached_to_leave_nothing_behind() -> Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("observer.toml");
    fs::write(&file, "[targets]\nlinger = \"200ms\"\nrescan = \"300ms\"\n[docker]\nsocket = \"\"\n")?;
    let file = file.display().to_string();
    let name = format!("fleeting-{}", std::process::id());
    let mut agent = Agent::start(["--config", &file, "--target", &format!("unit:{name}-*")])?;
    let pid = agent.process().pid();
    let observed = |metrics: &Metrics| metrics.get("observer_targets", &[("state", "observed")]);

    // One that stays for a moment, so that what attaching allocates once is there when files are counted.
    let first = Cgroup::named(format!("{name}-first.scope"))?;
    ensure!(observed(&agent.scrape_until(PATIENCE, |it| observed(it) == Some(1.0))?) == Some(1.0));
    drop(first);
    ensure!(observed(&agent.scrape_until(PATIENCE, |it| observed(it) == Some(0.0))?) == Some(0.0));
    let before = descriptors(pid)?;
    let held = Held::by(pid)?;

    let root = cgroup::root()?;
    for number in 0..FLEETING {
        let path = root.join(format!("{name}-{number}.scope"));
        fs::create_dir(&path)?;
        fs::remove_dir(&path)?;
    }
    let settled = |metrics: &Metrics| {
        observed(metrics) == Some(0.0) && metrics.sum("observer_records_total", &[]) >= 2.0 * FLEETING as f64
    };
    let metrics = agent.scrape_until(PATIENCE, settled)?;
    ensure!(settled(&metrics), "{:?} of {FLEETING} are still observed", observed(&metrics));
    ensure!(metrics.get("observer_targets", &[("state", "failed")]) == Some(0.0), "one counts as failed");
    wait_until("all files are closed", PATIENCE, || Ok(descriptors(pid)? <= before))?;
    ensure!(Held::by(pid)? == held, "it holds other programs, maps or links than before");
    let log = agent.process().output();
    ensure!(!has_log_of_trouble(&log), "{log}");
    // At most that it came and that it went, for each.
    ensure!(log.lines().count() <= 2 * FLEETING + 10, "{} lines of log", log.lines().count());

    let last = Cgroup::named(format!("{name}-last.scope"))?;
    let mut puppet = Puppet::start(PUPPET, &last)?;
    puppet::call(puppet.listen()?, 100)?;
    let counted = |metrics: &Metrics| is(metrics, "chat_tcp_connections_closed_total", 1.0);
    ensure!(counted(&agent.scrape_until(PATIENCE, counted)?), "the agent observes no more");
    Ok(())
}

/// Keeps scraping and calling until it is told to stop; how many scrapes were answered.
fn load(agent: std::net::SocketAddr, target: std::net::SocketAddr, over: &AtomicBool, scrapes: &AtomicU64) {
    while !over.load(Ordering::Relaxed) {
        let _ = puppet::call(target, 1000);
        // Refused once the agent has ended.
        if http::get(agent, "/metrics").is_ok_and(|answer| answer.status == 200) {
            scrapes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_signal_stops_it_within_a_second_also_under_load() -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        let cgroup = Cgroup::create("lifecycle")?;
        let mut puppet = Puppet::start(PUPPET, &cgroup)?;
        let target = puppet.listen()?;
        let mut agent = start(&cgroup)?;
        let address = agent.address();
        // Clients that would like to hold it up: one says nothing, one sends half a request.
        let _silent = TcpStream::connect(address)?;
        let mut half = TcpStream::connect(address)?;
        half.write_all(b"GET /metrics HTTP/1.1\r\nHost: ")?;
        let (over, scrapes) = (AtomicBool::new(false), AtomicU64::new(0));
        let (status, took) = thread::scope(|scope| -> Result<_> {
            for _ in 0..4 {
                scope.spawn(|| load(address, target, &over, &scrapes));
            }
            let mut stop = || -> Result<_> {
                wait_until("scrapes are going on", PATIENCE, || Ok(scrapes.load(Ordering::Relaxed) >= 20))?;
                ensure!(!bpf::attached_to(cgroup.path())?.is_empty(), "nothing is attached");
                let begun = Instant::now();
                agent.process().signal(signal)?;
                let status = agent.process().wait(PATIENCE)?;
                Ok((status, begun.elapsed()))
            };
            let stopped = stop();
            over.store(true, Ordering::Relaxed);
            stopped
        })?;
        ensure!(status.code() == Some(0), "{signal:?}: {status}");
        ensure!(took < STOP_WITHIN, "{signal:?}: it took {took:?}");
        ensure!(bpf::attached_to(cgroup.path())?.is_empty(), "{signal:?}: something is still attached");
        let log = agent.process().output();
        ensure!(!has_log_of_trouble(&log), "{log}");
    }
    Ok(())
}

/// The first look for executables begins when the agent is ready, and that of Node.js takes some tenths of a second.
#[test]
fn a_signal_in_the_middle_of_reading_node_js_stops_it_as_well() -> Result<()> {
    let cgroup = Cgroup::create("lifecycle")?;
    let mut command = cgroup.command(executable(24)?);
    let _node = Background::start(command.args(["-e", "setInterval(() => {}, 1000)"]))?;
    for milliseconds in [0, 30, 60, 100, 150, 200, 300, 400] {
        let agent = start(&cgroup)?;
        thread::sleep(Duration::from_millis(milliseconds));
        let begun = Instant::now();
        ensure!(agent.stop()?.success(), "after {milliseconds} ms");
        ensure!(begun.elapsed() < STOP_WITHIN, "after {milliseconds} ms: it took {:?}", begun.elapsed());
    }
    Ok(())
}

#[test]
fn a_kill_leaves_nothing_in_the_kernel_and_it_can_start_again() -> Result<()> {
    let cgroup = Cgroup::create("lifecycle")?;
    let mut puppet = Puppet::start(PUPPET, &cgroup)?;
    let target = puppet.listen()?;
    let mut agent = start(&cgroup)?;
    let held = Held::by(agent.process().pid())?;
    // Seven programs; socket_events and two for packets on the cgroup, three tracepoints and the iterator.
    ensure!(held.programs.len() >= 4 && held.maps.len() >= 4 && held.links.len() >= 3, "{held:?}");
    ensure!(held.remaining()? == held, "the kernel knows them by these ids");
    ensure!(bpf::attached_to(cgroup.path())?.len() == 3, "three are attached to the cgroup");

    let address = agent.address().to_string();
    let kept = TcpStream::connect(target)?;
    agent.process().signal(Signal::KILL)?;
    let status = agent.process().wait(PATIENCE)?;
    ensure!(status.signal() == Some(9), "{status}");
    // The kernel frees them when the last reader of theirs is through.
    wait_until("the kernel has let go of all", PATIENCE, || Ok(held.remaining()? == Held::default()))?;
    ensure!(bpf::attached_to(cgroup.path())?.is_empty(), "something is still attached");

    for round in 1..=2 {
        let again = Agent::listening(&address, ["--docker-socket", "", "--target", &cgroup.selector()])?;
        let metrics = again.scrape()?;
        let adopted = [("direction", "inbound")];
        ensure!(metrics.get("chat_tcp_connections_preexisting_total", &adopted) == Some(1.0), "{round}");
        puppet::call(target, 100)?;
        let counted = |metrics: &Metrics| is(metrics, "chat_tcp_connections_closed_total", 1.0);
        ensure!(counted(&again.scrape_until(PATIENCE, counted)?), "round {round}: the call is not counted");
        ensure!(again.stop()?.success(), "round {round}");
    }
    drop(kept);
    Ok(())
}
