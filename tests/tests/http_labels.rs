//! Paths that nobody has seen before: ids are one route, whatever is not found is one, and words without end stay within
//! the budget, past which they are `other` and counted.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::Result;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    http::{
        client::{Connection, Request},
        ledger::Ledger,
        server::{Kind, Server},
        truth::Comparison,
    },
    metrics::Metrics,
    process::be_urgent,
};
use tokio::runtime::Builder;

/// Different paths of each kind.
const PATHS: u64 = 10_000;
/// Templates that a target may have: `limits.routes` of the default configuration, `other` and `{unmatched}`.
const MOST_ROUTES: usize = 202;

/// Asks for `PATHS` paths over one connection.
async fn ask(server: &Server, route: &str, path: impl Fn(u64) -> String, ledger: &mut Ledger) -> Result<()> {
    let mut connection = Connection::open(server.address()).await?;
    for number in 0..PATHS {
        let request = Request { method: "GET", target: path(number), body: 0, chunked: false };
        let answer = connection.exchange(&request).await?;
        ledger.enter("GET", route, &request.target, 0, &answer);
    }
    Ok(())
}

/// The routes that the metrics tell of.
fn routes(metrics: &Metrics) -> BTreeSet<String> {
    let requests = metrics.matching("chat_http_requests_total", &[]);
    requests.filter_map(|(series, _)| series.labels.get("route").cloned()).collect()
}

#[test]
fn ten_thousand_paths_are_one_route_or_within_the_budget() -> Result<()> {
    let cgroup = Cgroup::create("observer-labels")?;
    let server = Server::start(Kind::Node(&[]), &cgroup, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let agent =
        Agent::start(["--docker-socket", "", "--target", &format!("{},app=generic", cgroup.selector())])?;
    be_urgent()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut ledger = Ledger::default();
    let chat = |number| format!("/api/chat/3f2504e0-4f89-41d3-9a0c-{number:012x}?bytes=20&number={number}");
    runtime.block_on(ask(&server, "/api/chat/{uuid}", chat, &mut ledger))?;
    let missing = |number| format!("/scan/{}?status=404&bytes=20", word(number));
    runtime.block_on(ask(&server, "{unmatched}", missing, &mut ledger))?;
    let metrics = Comparison::wait_equal(&agent, |metrics| Comparison::of_all(&ledger, metrics))?;
    assert_eq!(metrics.matching("chat_http_requests_total", &[]).count(), 2, "one series each");
    assert!(metrics.sum("observer_label_overflow_total", &[]) < 0.5, "nothing was cut off");

    // An app that answers everything: its words are routes until there is no more room.
    let before = ledger.count();
    let words = |number| format!("/{}?bytes=20", word(number));
    runtime.block_on(ask(&server, "words", words, &mut ledger))?;
    let all = ledger.count() as f64;
    let settled = |metrics: &Metrics| metrics.sum("chat_http_requests_total", &[]) >= all;
    let metrics = agent.scrape_until(std::time::Duration::from_secs(20), settled)?;
    let count = metrics.sum("chat_http_requests_total", &[]);
    assert!((count - all).abs() < 0.5, "{count} of {all} requests, {before} of them before");
    let routes = routes(&metrics);
    assert!((20..=MOST_ROUTES).contains(&routes.len()), "{} routes", routes.len());
    let other = metrics.sum("chat_http_requests_total", &[("route", "other")]);
    let own = (routes.len() - 3) as f64;
    assert!((other - (PATHS as f64 - own)).abs() < 0.5, "{other} are other, {own} have routes of their own");
    assert!(metrics.sum("observer_label_overflow_total", &[("label", "route")]) > 0.5);
    // What asked for them is not in any label.
    let shown: Vec<&String> = metrics.iter().flat_map(|(series, _)| series.labels.values()).collect();
    assert!(!shown.iter().any(|value| value.contains("bytes=") || value.contains("9a0c")), "{shown:?}");
    agent.stop()?;
    Ok(())
}

/// A word of small letters for each number.
fn word(number: u64) -> String {
    let digits = number.to_string();
    digits.bytes().map(|digit| char::from(digit - b'0' + b'a')).collect::<String>() + "-page"
}
