//! 100,000 requests of mixed method, route and status at full speed, over Node.js, uvicorn and nginx: each count as the
//! client has it, and as the servers' own logs have it; durations within a millisecond of the client's.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    http::{
        kinds::{MIXED, SLOW},
        ledger::{Ledger, Logged},
        load::{self, Load},
        server::{Kind, Server},
        truth::Comparison,
    },
    process::be_urgent,
};
use tokio::runtime::Builder;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server and how many requests it is to answer, over how many connections.
const PARTS: [(Kind, usize, usize); 3] =
    [(Kind::Node(&[]), 40_000, 16), (Kind::Uvicorn, 20_000, 8), (Kind::Nginx, 40_000, 16)];

/// Requests to each server that take up to 120 ms, to compare durations by.
const SLOW_REQUESTS: usize = 2000;

#[test]
fn each_of_100_000_requests_is_counted_as_the_client_and_the_server_saw_it() -> Result<()> {
    // One thread, this one: the servers need the other core.
    be_urgent()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let cgroup = Cgroup::create("observer-requests")?;
    let servers = PARTS.map(|(kind, ..)| Server::start(kind, &cgroup, LOCALHOST));
    let servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
    let agent =
        Agent::start(["--docker-socket", "", "--target", &format!("{},app=generic", cgroup.selector())])?;
    let (mut all, mut logged) = (Ledger::default(), Logged::new());
    for (number, (server, (kind, requests, connections))) in servers.into_iter().zip(PARTS).enumerate() {
        let mixed = Load {
            server: server.address(),
            kinds: MIXED,
            requests,
            connections,
            renewed_after: Some(5000),
            seed: number as u64 * 1000,
        };
        let slow = Load { kinds: SLOW, requests: SLOW_REQUESTS, connections: 48, ..mixed };
        for load in [mixed, slow] {
            let ledger = load::play(&runtime, load).with_context(|| format!("{kind:?}"))?;
            assert_eq!(ledger.count(), load.requests as u64);
            all.add(ledger);
        }
        // The agent must tell of requests that are over, whether their server still runs or not.
        for (key, count) in server.answered()? {
            *logged.entry(key).or_default() += count;
        }
    }
    all.same_as_logged(&logged)?;
    Comparison::wait_equal(&agent, |metrics| {
        let mut comparison = Comparison::of_all(&all, metrics);
        let lost = metrics.sum("observer_records_lost_total", &[]);
        comparison.count("records lost".to_owned(), 0, lost);
        comparison
    })?;
    agent.stop()?;
    Ok(())
}
