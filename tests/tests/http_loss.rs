//! Requests over a wire between two network namespaces that loses segments, and over one that reorders them: what is sent
//! twice, late or in any order counts once, to the byte, or is given up and said to be lost; never counted wrong.

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    http::{
        kinds::LONG,
        ledger::Ledger,
        load::{self, Load},
        server::{Kind, Server},
        truth::Comparison,
    },
    wire::{SERVER, Wire},
};

/// Requests to each server.
const REQUESTS: usize = 10_000;
/// Segments that are sent again, or come ahead of others, at least.
const DISTURBED: u64 = 2000;
/// Bytes of a body at most.
const LONGEST: u64 = 60_000;
/// The share of requests that may be given up, each of them counted as lost: where a late segment held bytes that framing
/// needed, and others came before it.
const MOST_GIVEN_UP: f64 = 0.1 / 20.0;

/// Plays the load over `wire` and compares; `counter` of the server's TCP must show that there was something to survive.
fn compare(wire: &Wire, counter: &str) -> Result<()> {
    let cgroup = Cgroup::create("observer-wire")?;
    let agent =
        Agent::start(["--docker-socket", "", "--target", &format!("{},app=generic", cgroup.selector())])?;
    let runtime = wire.client().runtime()?;
    let mut all = Ledger::default();
    for (seed, kind) in [(1, Kind::Node(&[])), (2, Kind::Uvicorn)] {
        let server = Server::start_by(kind, SERVER, |program| wire.server_command(&cgroup, program))?;
        let load = Load {
            server: server.address(),
            kinds: LONG,
            requests: REQUESTS,
            connections: 64,
            // New connections are a part of it.
            renewed_after: Some(20),
            seed: seed * 1000,
        };
        let ledger = load::play(&runtime, load).with_context(|| format!("{kind:?}"))?;
        ledger.same_as_logged(&server.answered()?)?;
        all.add(ledger);
    }
    let disturbed = wire.server_counter(counter)?;
    ensure!(disturbed > DISTURBED, "{counter} is {disturbed} after {} requests", all.count());
    // When a request began is not known at the other end of a wire that lost its first segment.
    let all = all.without_durations();
    let metrics = Comparison::wait_equal(&agent, |metrics| {
        Comparison::of_all(&all, metrics).with_given_up(&all, metrics, LONGEST)
    })?;
    let given_up = metrics.sum("observer_records_lost_total", &[]);
    ensure!(given_up <= MOST_GIVEN_UP * all.count() as f64, "{given_up} of {} were given up", all.count());
    agent.stop()?;
    Ok(())
}

#[test]
fn requests_count_once_where_three_in_a_hundred_segments_are_lost() -> Result<()> {
    let wire = Wire::create(0.0)?;
    wire.lose(0.03)?;
    compare(&wire, "RetransSegs")
}

#[test]
fn requests_count_once_where_segments_overtake_each_other() -> Result<()> {
    let wire = Wire::create(0.1)?;
    compare(&wire, "TCPOFOQueue")
}
