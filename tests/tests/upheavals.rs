//! What a host does to a target while it is observed: its process moves to another cgroup, it is frozen, its network
//! namespace goes away, a CPU goes offline and comes back. No number is wrong then, and the agent goes on.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    faults::{
        application::{Application, Priority},
        calls::{Caller, Calls, Manner},
    },
    http::{
        client::{Connection, Request},
        server::{Kind, Server},
    },
    metrics::Metrics,
    process::PATIENCE,
    puppet::{self, Puppet},
    wire::{SERVER, Wire},
};

/// The program of [`Puppet`].
const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

/// The program of [`Caller`].
const FAULTS: &str = env!("CARGO_BIN_EXE_faults");

/// Payload bytes of each call, there and back.
const BYTES: usize = 1000;

/// The CPU that is taken away.
const CPU: &str = "/sys/devices/system/cpu/cpu1/online";

fn observe(cgroups: &[&Cgroup]) -> Result<Agent> {
    let mut arguments = vec!["--docker-socket".to_owned(), String::new()];
    for cgroup in cgroups {
        arguments.extend(["--target".to_owned(), cgroup.selector()]);
    }
    Agent::start(arguments)
}

fn name(cgroup: &Cgroup) -> String {
    cgroup.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn move_into(cgroup: &Cgroup, pid: u32) -> Result<()> {
    let file = cgroup.path().join("cgroup.procs");
    fs::write(&file, pid.to_string()).with_context(|| format!("cannot move {pid} to {}", file.display()))
}

/// Connections of a container in a direction: opened, open before the agent, closed and open now.
fn connections(metrics: &Metrics, container: &str, direction: &str) -> [u64; 4] {
    let labels = [("container", container), ("direction", direction)];
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small whole numbers")]
    ["_opened_total", "_preexisting_total", "_closed_total", ""]
        .map(|name| metrics.sum(&format!("chat_tcp_connections{name}"), &labels) as u64)
}

/// Waits until these are the connections of a container in a direction.
fn expect(agent: &Agent, cgroup: &Cgroup, direction: &str, expected: [u64; 4]) -> Result<()> {
    let name = name(cgroup);
    let equal = |metrics: &Metrics| connections(metrics, &name, direction) == expected;
    let metrics = agent.scrape_until(PATIENCE, equal)?;
    let seen = connections(&metrics, &name, direction);
    ensure!(
        seen == expected,
        "{name}, {direction}: opened, preexisting, closed, open are {seen:?}, not {expected:?}"
    );
    let lost = metrics.sum("observer_records_lost_total", &[]);
    ensure!(lost < 0.5, "{lost} records were lost");
    Ok(())
}

fn require_quiet(agent: &mut Agent) -> Result<()> {
    let log = agent.process().output();
    ensure!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    Ok(())
}

#[test]
fn connections_stay_with_the_cgroup_that_their_process_was_in_when_it_moves() -> Result<()> {
    let (from, to) = (Cgroup::create("moved-from")?, Cgroup::create("moved-to")?);
    let mut puppet = Puppet::start(PUPPET, &from)?;
    let inside = puppet.listen()?;
    let outside = puppet::echo(Ipv4Addr::LOCALHOST.into())?;
    let mut agent = observe(&[&from, &to])?;
    let kept = TcpStream::connect(inside)?;
    puppet.hold(outside)?;
    puppet.call(outside, BYTES)?;
    expect(&agent, &from, "inbound", [1, 0, 0, 1])?;
    expect(&agent, &from, "outbound", [2, 0, 1, 1])?;

    move_into(&to, puppet.pid())?;
    // Its listener was opened before, what it connects from now on is not.
    for _ in 0..10 {
        puppet::call(inside, BYTES)?;
        puppet.call(outside, BYTES)?;
    }
    expect(&agent, &from, "inbound", [11, 0, 10, 1])?;
    expect(&agent, &from, "outbound", [2, 0, 1, 1])?;
    expect(&agent, &to, "inbound", [0; 4])?;
    expect(&agent, &to, "outbound", [10, 0, 10, 0])?;
    drop(kept);
    puppet.release()?;
    expect(&agent, &from, "inbound", [11, 0, 11, 0])?;
    expect(&agent, &from, "outbound", [2, 0, 2, 0])?;

    let metrics = agent.scrape()?;
    for (cgroup, live) in [(&from, 0.0), (&to, 1.0)] {
        let up = metrics.get("chat_target_up", &[("container", &name(cgroup))]);
        ensure!(up == Some(live), "{} is up: {up:?}", name(cgroup));
    }
    require_quiet(&mut agent)
}

#[test]
fn a_process_that_comes_with_open_connections_brings_them_along() -> Result<()> {
    let (from, to) = (Cgroup::create("moved-from")?, Cgroup::create("moved-to")?);
    let mut puppet = Puppet::start(PUPPET, &from)?;
    let inside = puppet.listen()?;
    let outside = puppet::echo(Ipv4Addr::LOCALHOST.into())?;
    let kept = TcpStream::connect(inside)?;
    puppet.hold(outside)?;
    move_into(&to, puppet.pid())?;
    let mut agent = observe(&[&to])?;
    expect(&agent, &to, "inbound", [0, 1, 0, 1])?;
    expect(&agent, &to, "outbound", [0, 1, 0, 1])?;
    drop(kept);
    puppet.release()?;
    expect(&agent, &to, "inbound", [0, 1, 1, 0])?;
    expect(&agent, &to, "outbound", [0, 1, 1, 0])?;
    require_quiet(&mut agent)
}

/// A server that is called over 8 connections until `meanwhile` is done; what the client saw.
fn under_load(server: SocketAddr, meanwhile: impl FnOnce() -> Result<()>) -> Result<Calls> {
    let manner = Manner { server, connections: 8, renewed_after: 100, every: 0 };
    let caller = Caller::start(Path::new(FAULTS), manner, Priority::Usual)?;
    thread::sleep(Duration::from_millis(500));
    meanwhile()?;
    thread::sleep(Duration::from_millis(500));
    let calls = caller.end()?;
    calls.require_no_failure()?;
    Ok(calls)
}

/// Waits until the agent has counted all calls, and no other; the scrape.
fn expect_calls(agent: &Agent, cgroup: &Cgroup, calls: &Calls) -> Result<Metrics> {
    let counted = |metrics: &Metrics| metrics.sum("chat_http_requests_total", &[]);
    let metrics = agent.scrape_until(PATIENCE, |metrics| counted(metrics) >= calls.answered as f64)?;
    let seen = counted(&metrics);
    ensure!((seen - calls.answered as f64).abs() < 0.5, "{seen} counted of {} calls", calls.answered);
    expect(agent, cgroup, "inbound", [calls.opened, 0, calls.closed, 0])?;
    Ok(metrics)
}

#[test]
fn a_frozen_target_is_waited_for_and_counted() -> Result<()> {
    const FROZEN: Duration = Duration::from_secs(2);
    let cgroup = Cgroup::create("frozen")?;
    let application = Application::start(&cgroup, Priority::Usual)?;
    let freeze = |frozen: bool| {
        let file = cgroup.path().join("cgroup.freeze");
        fs::write(&file, if frozen { "1" } else { "0" })
            .with_context(|| format!("cannot write {}", file.display()))
    };
    // An agent may also find it frozen.
    freeze(true)?;
    let agent = observe(&[&cgroup]);
    freeze(false)?;
    let mut agent = agent?;
    let calls = under_load(application.address(), || {
        freeze(true)?;
        let begun = Instant::now();
        let scraped = agent.scrape();
        let took = begun.elapsed();
        thread::sleep(FROZEN);
        freeze(false)?;
        let up = scraped?.sum("chat_target_up", &[]);
        ensure!((up - 1.0).abs() < 0.5, "a frozen target is up: {up}");
        ensure!(took < Duration::from_secs(1), "a scrape takes {took:?}");
        Ok(())
    })?;
    let metrics = expect_calls(&agent, &cgroup, &calls)?;
    // Those under way took as long as it was frozen, on both sides.
    let waited = calls.slow.iter().filter(|call| call.milliseconds > 1000.0).count() as f64;
    let bucket = |bound| metrics.sum("chat_http_request_duration_seconds_bucket", &[("le", bound)]);
    let seen = bucket("+Inf") - bucket("1");
    ensure!(
        (1.0..=8.0).contains(&waited) && (waited - seen).abs() < 0.5,
        "{waited} waited, {seen} were seen to"
    );
    require_quiet(&mut agent)
}

/// Brings the CPU back, whatever happened.
struct Offline;

impl Offline {
    fn take() -> Result<Self> {
        fs::write(CPU, "0").with_context(|| format!("cannot write {CPU}"))?;
        Ok(Self)
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        if let Err(error) = fs::write(CPU, "1") {
            eprintln!("error: cannot bring a CPU back: {error}");
        }
    }
}

#[test]
#[cfg_attr(not(removable_cpu), ignore = "this machine has no CPU that can be taken away")]
fn a_cpu_may_go_and_come_back() -> Result<()> {
    let cgroup = Cgroup::create("hotplug")?;
    let application = Application::start(&cgroup, Priority::Usual)?;
    let mut agent = observe(&[&cgroup])?;
    let calls = under_load(application.address(), || {
        for _ in 0..2 {
            let offline = Offline::take()?;
            thread::sleep(Duration::from_millis(300));
            agent.scrape()?;
            drop(offline);
            thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    })?;
    expect_calls(&agent, &cgroup, &calls)?;
    require_quiet(&mut agent)?;
    agent.stop()?;

    // One that starts while it is away.
    let offline = Offline::take()?;
    let mut agent = observe(&[&cgroup])?;
    let calls = under_load(application.address(), || {
        drop(offline);
        Ok(())
    })?;
    expect_calls(&agent, &cgroup, &calls)?;
    require_quiet(&mut agent)
}

#[test]
fn connections_end_with_their_network_namespace_and_the_target_goes_on_in_another() -> Result<()> {
    const CONNECTIONS: u64 = 20;
    let cgroup = Cgroup::create("namespace")?;
    let mut agent = observe(&[&cgroup])?;
    let slow = Request {
        method: "GET",
        target: "/api/slow?status=200&bytes=10&delay=600000".to_owned(),
        body: 0,
        chunked: false,
    };
    let quick = Request { target: "/api/quick?status=200&bytes=10".to_owned(), ..slow.clone() };
    for round in 1..=2 {
        let wire = Wire::create(0.0)?;
        // So that the kernel gives up soon what it cannot send any more.
        wire.server_execute("sysctl", &["-qw", "net.ipv4.tcp_orphan_retries=1"])?;
        let server =
            Server::start_by(Kind::Node(&[]), SERVER, |program| wire.server_command(&cgroup, program))?;
        let runtime = wire.client().runtime()?;
        let address = server.address();
        let asked = quick.clone();
        let open = runtime.block_on(runtime.spawn(async move {
            let mut open = Vec::new();
            for _ in 0..CONNECTIONS {
                let mut connection = Connection::open(address).await?;
                connection.exchange(&asked).await?;
                open.push(connection);
            }
            anyhow::Ok(open)
        }))??;
        // Half of them wait for an answer.
        for (number, mut connection) in open.into_iter().enumerate() {
            let slow = slow.clone();
            runtime.spawn(async move {
                if number % 2 == 0 {
                    let _ended_with_its_namespace = connection.exchange(&slow).await;
                }
                std::future::pending::<()>().await;
                drop(connection);
            });
        }
        let all = |count: u64| count * CONNECTIONS;
        expect(&agent, &cgroup, "inbound", [all(round), 0, all(round - 1), all(1)])?;
        let waiting =
            |metrics: &Metrics| metrics.sum("chat_http_requests_in_flight", &[]) > all(1) as f64 / 2.0 - 0.5;
        ensure!(waiting(&agent.scrape_until(PATIENCE, waiting)?), "half of them do not wait");

        // The wire goes first: what the ends have to say to each other does not arrive any more.
        wire.cut()?;
        drop(server);
        drop(runtime);
        drop(wire);
        expect(&agent, &cgroup, "inbound", [all(round), 0, all(round), 0])?;
        let metrics = agent.scrape()?;
        let flying = metrics.sum("chat_http_requests_in_flight", &[]);
        ensure!(flying < 0.5, "{flying} requests are still in flight");
        let requests = |status| metrics.sum("chat_http_requests_total", &[("status_code", status)]);
        let (answered, not) = (requests("200"), requests("000") + requests("499"));
        let all = all(round) as f64;
        if (answered - all).abs() > 0.5 || (not - all / 2.0).abs() > 0.5 {
            bail!(
                "{answered} requests were answered and {not} were not, after {round} rounds of {CONNECTIONS}"
            );
        }
    }
    require_quiet(&mut agent)
}
