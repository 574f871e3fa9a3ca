//! HTTP/1 in every shape that servers and clients make of it, each on a route of its own: each counted once, with its
//! method, status and body bytes, and nothing else beside it.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    http::{
        self,
        ledger::Ledger,
        server::{Kind, Server},
        shapes::{self, Shape},
        truth::Comparison,
    },
    puppet::Puppet,
};

/// A request to a real server: what is said, the status of what comes first, and what it is to count as.
struct Asked<'s> {
    server: &'s Server,
    request: String,
    first: u16,
    counted: (&'static str, &'static str, u16, u64, u64),
}

/// Shapes on which a real server has an opinion: Node.js as it is, and with room for long heads.
fn from_node<'s>(plain: &'s Server, roomy: &'s Server) -> Vec<Asked<'s>> {
    let cookies = format!("Cookie: {}\r\n", "a".repeat(1000)).repeat(64);
    let close = "Host: x\r\nConnection: close\r\n";
    let asked = |server, request, first, counted| Asked { server, request, first, counted };
    vec![
        asked(
            roomy,
            format!("GET /node/cookies?bytes=9 HTTP/1.1\r\n{close}{cookies}\r\n"),
            200,
            ("GET", "/node/cookies", 200, 0, 9),
        ),
        asked(
            plain,
            format!("GET /node/refused?bytes=9 HTTP/1.1\r\n{close}{cookies}\r\n"),
            431,
            ("GET", "/node/refused", 431, 0, 0),
        ),
        asked(
            plain,
            format!("GET /node/trailer?bytes=9&chunks=2&trailer=1 HTTP/1.1\r\n{close}TE: trailers\r\n\r\n"),
            200,
            ("GET", "/node/trailer", 200, 0, 9),
        ),
        asked(plain, "GET /node/old?bytes=9 HTTP/1.0\r\n\r\n".into(), 200, ("GET", "/node/old", 200, 0, 9)),
        asked(
            plain,
            "GET /node/old-chunks?bytes=9&chunks=2 HTTP/1.0\r\n\r\n".into(),
            200,
            ("GET", "/node/old-chunks", 200, 0, 9),
        ),
        asked(
            plain,
            format!(
                "POST /node/upload?bytes=9 HTTP/1.1\r\n{close}Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
            ),
            100,
            ("POST", "/node/upload", 200, 3, 9),
        ),
        asked(
            plain,
            format!("GET /hints?bytes=9 HTTP/1.1\r\n{close}\r\n"),
            103,
            ("GET", "/hints", 200, 0, 9),
        ),
    ]
}

#[test]
fn every_shape_of_http_is_counted_for_what_it_is() -> Result<()> {
    let cgroup = Cgroup::create("observer-shapes")?;
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let node = Server::start(Kind::Node(&[]), &cgroup, localhost)?;
    let roomy = Server::start(Kind::Node(&["--max-http-header-size=131072"]), &cgroup, localhost)?;
    let mut puppet = Puppet::start(env!("CARGO_BIN_EXE_puppet"), &cgroup)?;
    let agent =
        Agent::start(["--docker-socket", "", "--target", &format!("{},app=generic", cgroup.selector())])?;
    let mut all = Ledger::default();
    for Asked { server, request, first, counted: (method, route, status, sent, received) } in
        from_node(&node, &roomy)
    {
        let answer = http::request(server.address(), &request).context(route)?;
        let whole = format!("{}\n{}", answer.head, answer.text());
        ensure!(answer.status == first, "{route} was answered with {}", answer.status);
        ensure!(whole.contains(&format!("HTTP/1.1 {status} ")), "{route} was answered with {whole}");
        all.expect(method, route, status, 1, sent, received);
    }
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
