//! A server that asks itself over loopback: its users' requests count as such, its own only as its own.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    http::{
        kinds::Kind,
        load::{self, Load},
        server::{self, Server},
        truth::Comparison,
    },
};
use tokio::runtime::Runtime;

/// Requests, for each of which the server asks itself once.
const REQUESTS: usize = 500;

const RELAYED: &[Kind] = &[Kind {
    weight: 1,
    method: "GET",
    path: "/relay/{number}",
    route: "/relay/{number}",
    status: 200,
    body: 0,
    answer: 300,
    delay: 0,
    chunked: false,
}];

/// A profile says that one of the server's calls to itself is work that users wait for.
const PROFILE: &str = "name = \"own\"\n[[routes]]\nmethod = \"GET\"\npath = \"/api/items/{number}\"\n\
                       event = \"document_processing\"\nself_calls = true\n[[routes]]\npath = \"/relay/{number}\"\n";

#[test]
fn calls_to_itself_that_a_profile_names_count_with_status_time_and_event() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let (profile, config) = (folder.path().join("own.toml"), folder.path().join("observer.toml"));
    std::fs::write(&profile, PROFILE)?;
    std::fs::write(&config, format!("profiles.files = [{profile:?}]\n[docker]\nsocket = \"\"\n"))?;
    let cgroup = Cgroup::create("observer-self")?;
    let server = Server::start(server::Kind::Node(&[]), &cgroup, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let config = config.display().to_string();
    let target = format!("{},app=own", cgroup.selector());
    let agent = Agent::start(["--config", &config, "--target", &target])?;
    let load = Load {
        server: server.address(),
        kinds: RELAYED,
        requests: REQUESTS,
        connections: 8,
        renewed_after: None,
        seed: 6,
    };
    load::play(&Runtime::new()?, load)?;
    let own: u64 = server
        .answered()?
        .iter()
        .filter(|((_, path, _), _)| path.starts_with("/api/items/"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(own, REQUESTS as u64, "the server asked itself as often as it was asked");
    let route = [("method", "GET"), ("route", "/api/items/{number}")];
    let event = [("event", "document_processing"), ("outcome", "ok")];
    Comparison::wait_equal(&agent, |metrics| {
        let mut comparison = Comparison::default();
        let mut count = |what: &str, known, seen| comparison.count(what.to_owned(), known, seen);
        let answered = [route[0], route[1], ("status_code", "200")];
        count("requests", own, metrics.sum("chat_http_requests_total", &answered));
        count("durations", own, metrics.sum("chat_http_request_duration_seconds_count", &route));
        count("events", own, metrics.sum("chat_app_events_total", &event));
        count("all requests", 2 * own, metrics.sum("chat_http_requests_total", &[]));
        count("calls to itself", 0, metrics.sum("chat_http_self_requests_total", &[]));
        count("calls to others", 0, metrics.sum("chat_upstream_requests_total", &[]));
        comparison
    })?;
    agent.stop()?;
    Ok(())
}

#[test]
fn calls_to_itself_are_no_users_requests() -> Result<()> {
    let cgroup = Cgroup::create("observer-self")?;
    let server = Server::start(server::Kind::Node(&[]), &cgroup, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let agent =
        Agent::start(["--docker-socket", "", "--target", &format!("{},app=generic", cgroup.selector())])?;
    let load = Load {
        server: server.address(),
        kinds: RELAYED,
        requests: REQUESTS,
        connections: 8,
        renewed_after: None,
        seed: 5,
    };
    // Durations are the affair of `http_requests`.
    let ledger = load::play(&Runtime::new()?, load)?.without_durations();
    let logged = server.answered()?;
    let own: u64 = logged
        .iter()
        .filter(|((_, path, _), _)| path.starts_with("/api/items/"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(own, REQUESTS as u64, "the server asked itself as often as it was asked");
    Comparison::wait_equal(&agent, |metrics| {
        let mut comparison = Comparison::of_all(&ledger, metrics);
        let seen = |labels: &[(&str, &str)]| metrics.sum("chat_http_self_requests_total", labels);
        comparison.count("calls to itself".to_owned(), own, seen(&[("route", "/api/items/{number}")]));
        comparison.count("calls to itself, any route".to_owned(), own, seen(&[]));
        comparison.count("calls to others".to_owned(), 0, metrics.sum("chat_upstream_requests_total", &[]));
        comparison
    })?;
    agent.stop()?;
    Ok(())
}
