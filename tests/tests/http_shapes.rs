//! HTTP/1 in every shape that servers and clients make of it, each on a route of its own: each counted once, with its
//! method, status and body bytes, and nothing else beside it.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    http::{
        ledger::Ledger,
        server::{self, Kind},
        shapes::{self, Shape},
        truth::Comparison,
    },
    puppet::Puppet,
};

/// Shapes on which a real server has an opinion: Node.js as it is, and with room for long heads.
fn from_servers(plain: &server::Server, roomy: &server::Server) -> Result<Ledger> {
    let cookies = format!("Cookie: {}\r\n", "a".repeat(1000)).repeat(64);
    let mut ledger = Ledger::default();
    let mut ask = |server: &server::Server,
                   request: &str,
                   status: u16,
                   entry: (&str, &str, u64, u64)|
     -> Result<()> {
        let answer = tests::http::request(server.address(), request)?;
        let (method, route, sent, received) = entry;
        anyhow::ensure!(answer.head.contains(&format!(" {status} ")), "{method} {route}: {}", answer.head);
        ledger.expect(method, route, status, 1, sent, received);
        Ok(())
    };
    let close = "Host: x\r\nConnection: close\r\n";
    let many = |path: &str| format!("GET {path}?bytes=9 HTTP/1.1\r\n{close}{cookies}\r\n");
    ask(roomy, &many("/node/cookies"), 200, ("GET", "/node/cookies", 0, 9))?;
    ask(plain, &many("/node/refused"), 431, ("GET", "/node/refused", 0, 0))?;
    let trailer =
        format!("GET /node/trailer?bytes=9&chunks=2&trailer=1 HTTP/1.1\r\n{close}TE: trailers\r\n\r\n");
    ask(plain, &trailer, 200, ("GET", "/node/trailer", 0, 9))?;
    ask(plain, "GET /node/old?bytes=9 HTTP/1.0\r\n\r\n", 200, ("GET", "/node/old", 0, 9))?;
    ask(
        plain,
        "GET /node/old-chunks?bytes=9&chunks=2 HTTP/1.0\r\n\r\n",
        200,
        ("GET", "/node/old-chunks", 0, 9),
    )?;
    let continued = format!(
        "POST /node/continued?bytes=9 HTTP/1.1\r\n{close}Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
    );
    let answer = tests::http::request(plain.address(), &continued)?;
    anyhow::ensure!(answer.status == 100 && answer.text().starts_with("HTTP/1.1 200 OK"), "{answer:?}");
    ledger.expect("POST", "/node/continued", 200, 1, 3, 9);
    let hinted = format!("GET /hints?bytes=9 HTTP/1.1\r\n{close}\r\n");
    let answer = tests::http::request(plain.address(), &hinted)?;
    anyhow::ensure!(answer.status == 103 && answer.text().starts_with("HTTP/1.1 200 OK"), "{answer:?}");
    ledger.expect("GET", "/hints", 200, 1, 0, 9);
    Ok(ledger)
}

#[test]
fn every_shape_of_http_is_counted_for_what_it_is() -> Result<()> {
    let cgroup = Cgroup::create("observer-shapes")?;
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let node = server::Server::start(Kind::Node(&[]), &cgroup, localhost)?;
    let roomy = server::Server::start(Kind::Node(&["--max-http-header-size=131072"]), &cgroup, localhost)?;
    let mut puppet = Puppet::start(env!("CARGO_BIN_EXE_puppet"), &cgroup)?;
    let agent =
        Agent::start(["--docker-socket", "", "--target", &format!("{},app=generic", cgroup.selector())])?;
    let mut all = from_servers(&node, &roomy)?;
    for Shape { dialog, ledger } in shapes::all() {
        puppet.serve(&dialog).with_context(|| format!("{:?}", ledger.routes()))?;
        all.add(ledger);
    }
    Comparison::wait_equal(&agent, |metrics| {
        let mut comparison = Comparison::of_all(&all, metrics);
        comparison.count("records lost".to_owned(), 0, metrics.sum("observer_records_lost_total", &[]));
        let unknown = metrics.sum("observer_l7_bytes_total", &[("protocol", "unknown")]);
        comparison.count("bytes of unknown protocols".to_owned(), 0, unknown);
        comparison
    })?;
    agent.stop()?;
    Ok(())
}
