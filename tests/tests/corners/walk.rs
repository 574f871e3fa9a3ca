//! Scrapes while connections open and close by the thousand beside two thousand that stay: each counts once, in gauges
//! and in bytes. And agents that start amid such a crowd: what they take over and what closes meanwhile leaves no trace.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    corners::{
        actor::{Actor, Order, Ordered},
        expected::Expected,
        stage::{Place, Stage},
    },
    metrics::Metrics,
    process::{PATIENCE, raise_file_limit},
};

/// Connections that stay: several reads of the kernel's iterator, which gives 512 at a time.
const STEADY: usize = 2000;
/// Bytes that each of them has had from the test; no protocol.
const BYTES: u64 = 1000;
/// Threads that open and close.
const KNOCKERS: u64 = 3;
/// Connections of a thread that may not be gone yet when the next one opens.
const CLOSING: u64 = 3;
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Connections that stay open as long as both of this are there.
fn steady(actor: &Actor) -> Result<(Ordered, Vec<TcpStream>)> {
    raise_file_limit()?;
    let bytes = vec![0xfe; usize::try_from(BYTES)?];
    let mut order = actor.order(&Order::Keep(ANY, STEADY, bytes.len()))?;
    let address = order.address()?;
    let connect = |_| -> Result<TcpStream> {
        let mut stream = TcpStream::connect(address).context("cannot connect")?;
        stream.set_read_timeout(Some(PATIENCE)).context("cannot set a time limit")?;
        stream.write_all(&bytes).context("cannot send")?;
        stream.read_exact(&mut [0]).context("no answer")?;
        Ok(stream)
    };
    let streams = (0..STEADY).map(connect).collect::<Result<_>>()?;
    order.kept()?;
    Ok((order, streams))
}

/// Opens and closes until `over`, each time with some bytes; adds to `knocked` before each.
fn knock(address: SocketAddr, over: &AtomicBool, knocked: &AtomicU64) -> Result<()> {
    while !over.load(Ordering::Relaxed) {
        knocked.fetch_add(1, Ordering::SeqCst);
        let mut stream = TcpStream::connect(address).context("cannot connect")?;
        // The other end closes when it has accepted; a reset is an end too.
        let _ = stream.read(&mut [0]);
    }
    Ok(())
}

fn inbound(metrics: &Metrics, name: &str) -> u64 {
    metrics.count(name, &[("direction", "inbound")])
}

/// Lets threads open and close while `work` runs; how often they did.
fn amid<T>(actor: &Actor, work: impl FnOnce(&AtomicU64) -> Result<T>) -> Result<(T, u64)> {
    // So many that it never stops accepting.
    let mut order = actor.order(&Order::Shut(ANY, usize::MAX))?;
    let address = order.address()?;
    let (over, knocked) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = thread::scope(|scope| {
        let knocking: Vec<_> =
            (0..KNOCKERS).map(|_| scope.spawn(|| knock(address, &over, &knocked))).collect();
        let done = work(&knocked);
        over.store(true, Ordering::Relaxed);
        let knocked = knocking
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        knocked.and(done)
    })?;
    Ok((done, knocked.load(Ordering::SeqCst)))
}

#[test]
fn each_connection_counts_once_however_many_come_and_go_during_a_scrape() -> Result<()> {
    let stage = Stage::at(Place::Loopback)?;
    let (order, kept) = steady(stage.actor())?;
    let (open, bytes) = (kept.len() as u64, kept.len() as u64 * BYTES);
    let agent = stage.agent();
    let (scrapes, knocked) = amid(stage.actor(), |knocked| {
        let end = Instant::now() + Duration::from_secs(4);
        let mut scrapes = 0;
        while Instant::now() < end {
            let before = knocked.load(Ordering::SeqCst);
            let metrics = agent.scrape()?;
            let after = knocked.load(Ordering::SeqCst);
            let gauge = inbound(&metrics, "chat_tcp_connections");
            let most = open + KNOCKERS * CLOSING;
            ensure!(
                (open..=most).contains(&gauge),
                "scrape {scrapes}: {gauge} are open, of {open} to {most}"
            );
            let received = inbound(&metrics, "chat_tcp_received_bytes_total");
            ensure!(received == bytes, "scrape {scrapes}: {received} bytes were received, and {bytes} sent");
            let opened = inbound(&metrics, "chat_tcp_connections_opened_total");
            let (least, most) = (open + before.saturating_sub(KNOCKERS), open + after);
            ensure!(
                (least..=most).contains(&opened),
                "scrape {scrapes}: {opened} were opened, of {least} to {most}"
            );
            scrapes += 1;
        }
        Ok(scrapes)
    })?;
    println!("{scrapes} scrapes during {knocked} connections");
    ensure!(scrapes > 20 && knocked > 2000, "{scrapes} scrapes during {knocked} connections are too few");
    stage.expect(Expected::nothing().open("inbound", open))?;
    drop((order, kept));
    stage.expect(Expected::nothing().open("inbound", 0))?;
    stage.end()
}

#[test]
fn connections_that_close_while_they_are_taken_over_leave_no_trace() -> Result<()> {
    const STARTS: usize = 4;
    let cgroup = Cgroup::create("observer-taken-over")?;
    let actor = Actor::start(|program| cgroup.command(program))?;
    let (_order, kept) = steady(&actor)?;
    let listener = TcpListener::bind(ANY).context("cannot listen")?;
    let called = listener.local_addr()?;
    thread::spawn(move || listener.incoming().for_each(drop));
    let target = format!("{},app=generic", cgroup.selector());
    for start in 0..STARTS {
        let (agent, knocked) = amid(&actor, |_| {
            // The target's own connections come and go too.
            let knocking = actor.order(&Order::Knock(called, 600))?;
            let agent = Agent::start(["--docker-socket", "", "--target", &target])?;
            knocking.wait()?;
            Ok(agent)
        })?;
        let expected = Expected::nothing().open("inbound", kept.len() as u64).open("outbound", 0);
        let metrics =
            expected.wait(&agent).with_context(|| format!("start {start}, {knocked} connections"))?;
        let old = inbound(&metrics, "chat_tcp_connections_preexisting_total");
        ensure!(old >= kept.len() as u64, "{old} connections were taken over, and {} stay", kept.len());
        agent.stop()?;
    }
    Ok(())
}
