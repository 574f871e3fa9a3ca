//! Connections that are no HTTP, and stay open: they take no room from those that are.
//! With so little memory that there is room for a few hundred followed connections.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::{
    agent::{self, Agent},
    corners::{
        actor::{Manner, Order},
        case::{Case, Role},
        expected::Expected,
        said::{answered, get, posted},
        stage::{Held, Place, Stage},
    },
    http::dialog::{Dialog, Side::Client},
    memory_cgroup::MemoryCgroup,
    metrics::Metrics,
    process::{PATIENCE, raise_file_limit},
};

const LIMIT: u64 = 64 << 20;
/// Idle connections of each kind.
const IDLE: usize = 300;
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What is said on them: the beginning of TLS, of another protocol, of nothing that is known, of HTTP/2.
const KINDS: [(&[u8], &[u8]); 4] = [
    (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", b"\x16\x03\x03\x00\x04\x02\x00\x00\x00"),
    (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
    (b"\xde\xad\xbe\xef", b"\xfe\xed\xfa\xce"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", b"\0\0\0\x04\0\0\0\0\0"),
];

#[test]
fn twelve_hundred_idle_connections_that_are_no_http_leave_room_for_those_that_are() -> Result<()> {
    let Some(memory) = MemoryCgroup::create(LIMIT)? else {
        println!("left out: this host has no memory controller for cgroups");
        return Ok(());
    };
    raise_file_limit()?;
    let binary = agent::binary()?;
    let stage = Stage::with(Place::Loopback, |target| {
        let target = format!("{target},app=generic");
        Agent::start_by(memory.command(binary), ["--docker-socket", "", "--target", &target])
    })?;
    let mut idle = Vec::new();
    let mut orders = Vec::new();
    for (asks, answers) in KINDS {
        let dialog = Dialog::default().client(asks).server(answers).closed_by(Client);
        // Each is kept until its client closes, or for as long as a dialog waits.
        let mut order = stage.actor().order(&Order::Serve(ANY, Manner::Usual, vec![dialog; IDLE]))?;
        let address = order.address()?;
        for _ in 0..IDLE {
            let mut stream = TcpStream::connect(address).context("cannot connect")?;
            stream.set_read_timeout(Some(PATIENCE)).context("cannot set a time limit")?;
            stream.write_all(asks).context("cannot ask")?;
            stream.read_exact(&mut vec![0; answers.len()]).context("no answer")?;
            idle.push(stream);
        }
        orders.push(order);
    }
    let dialog = Dialog::default().client(get("/beside")).server(answered(200, 5)).closed_by(Client);
    let expected = Expected::nothing().requests(Role::Server, "GET", "/beside", 200, 50);
    let metrics = stage.check(vec![Case::served("/beside", dialog, expected).at_once(50)])?;
    let open = metrics.count("chat_tcp_connections", &[("direction", "inbound")]);
    ensure!(open == idle.len() as u64, "{open} connections are open and not {}", idle.len());
    drop(idle);
    stage.end()
}

/// Connections that may be followed at once, and others that stay open.
const FOLLOWED: usize = 10;
const GIVEN_UP: usize = 15;

#[test]
fn connections_that_were_given_up_leave_their_room_to_others() -> Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("observer.toml");
    fs::write(&file, format!("[limits]\nhttp_connections = {FOLLOWED}\n[docker]\nsocket = \"\"\n"))?;
    let stage = Stage::with(Place::Loopback, |target| {
        let file = file.display().to_string();
        Agent::start(["--config", &file, "--target", &format!("{target},app=generic")])
    })?;
    let smuggled = posted("/smuggled", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n");
    let refused = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let tunnel = "CONNECT example.com:443 HTTP/1.1\r\nHost: corner\r\n\r\n";
    let bad = [
        Dialog::default().client("\u{16}\u{3}\u{1}").server("\u{15}"),
        Dialog::default().client(tunnel).server("HTTP/1.1 200 OK\r\n\r\n").client("\u{16}\u{3}\u{1}"),
        // Neither side can be followed behind these.
        Dialog::default()
            .client(get("/before"))
            .server(answered(200, 5))
            .client(smuggled)
            .server(refused)
            .server("no answer\r\n\r\n"),
    ];
    let held = bad
        .iter()
        .cycle()
        .take(GIVEN_UP * bad.len())
        .map(|dialog| stage.hold(&dialog.clone().closed_by(Client)))
        .collect::<Result<Vec<_>>>()?;
    let dialog = Dialog::default().client(get("/beside")).server(answered(200, 5)).closed_by(Client);
    let beside = Case::served("/beside", dialog, Expected::nothing()).at_once(FOLLOWED);
    stage.play(vec![beside], Manner::Usual)?;
    let count = |metrics: &Metrics| metrics.count("chat_http_requests_total", &[("route", "/beside")]);
    let metrics = stage.agent().scrape_until(PATIENCE, |metrics| count(metrics) >= FOLLOWED as u64)?;
    ensure!(count(&metrics) == FOLLOWED as u64, "{} of {FOLLOWED} are counted", count(&metrics));
    held.into_iter().try_for_each(Held::close)?;
    stage.end()
}
