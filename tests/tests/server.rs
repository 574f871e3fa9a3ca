//! The metrics port of the real agent: what each path and method gets, and clients that want too much of it.
//! Scrapes go on whatever they do.

use std::{
    fs,
    io::{ErrorKind, Read as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use tempfile::TempDir;
use tests::{agent::Agent, cgroup::Cgroup, http, metrics::Metrics, process::raise_file_limit};

/// How many clients connect and say nothing.
const IDLE: usize = 1000;

/// The time limit of idle connections in this test.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a scrape may take while the idle ones are there; alone it takes a few milliseconds.
const SCRAPE_WITHIN: Duration = Duration::from_secs(2);

fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Result<http::Response> {
    http::request(address, &format!("{method} {path} HTTP/1.0\r\nHost: x\r\n{headers}\r\n"))
}

#[test]
fn paths_methods_and_encodings_get_what_they_should() -> Result<()> {
    let cgroup = Cgroup::create("server")?;
    let agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    let address = agent.address();
    for (method, path, status) in [
        ("GET", "/", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("HEAD", "/metrics", 200),
        ("GET", "/metrics/", 404),
        ("GET", "/../etc/passwd", 404),
        ("GET", "/api/v1/query", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/healthz", 405),
        ("PUT", "/", 405),
    ] {
        let answer = ask(address, method, path, "")?;
        ensure!(answer.status == status, "{method} {path}: {}", answer.head);
    }
    let name = cgroup.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let page = ask(address, "GET", "/", "")?.text();
    ensure!(page.contains(&name) && page.contains("href=\"/metrics\""), "{page}");

    let plain = ask(address, "GET", "/metrics", "")?;
    ensure!(plain.head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{}", plain.head);
    ensure!(!plain.head.to_lowercase().contains("content-encoding"), "{}", plain.head);
    let packed = ask(address, "GET", "/metrics", "Accept-Encoding: gzip\r\n")?;
    ensure!(packed.head.to_lowercase().contains("content-encoding: gzip"), "{}", packed.head);
    let mut text = String::new();
    GzDecoder::new(packed.body.as_slice()).read_to_string(&mut text)?;
    ensure!(packed.body.len() * 2 < text.len(), "{} bytes of {}", packed.body.len(), text.len());
    let (plain, packed) = (Metrics::parse(&plain.text())?, Metrics::parse(&text)?);
    let up = [("container", name.as_str())];
    ensure!(packed.get("chat_target_up", &up) == plain.get("chat_target_up", &up), "they differ");
    ensure!(packed.get("chat_target_up", &up).is_some(), "the target is not there");

    let large = format!("X-Large: {}\r\n", "a".repeat(1 << 20));
    let refused = ask(address, "GET", "/metrics", &large)?;
    ensure!(refused.status == 431, "{}", refused.head);
    agent.scrape().map(drop)
}

/// Whether the server has closed it.
fn closed(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn a_thousand_idle_connections_are_closed_in_time_and_keep_no_scrape_out() -> Result<()> {
    raise_file_limit()?;
    let folder = TempDir::new()?;
    let file = folder.path().join("observer.toml");
    fs::write(&file, format!("[server]\nidle_timeout = \"{}s\"\n", IDLE_TIMEOUT.as_secs()))?;
    let file = file.display().to_string();
    let cgroup = Cgroup::create("server")?;
    let agent = Agent::start(["--config", &file, "--docker-socket", "", "--target", &cgroup.selector()])?;

    let mut idle = Vec::with_capacity(IDLE);
    for number in 0..IDLE {
        let stream = TcpStream::connect(agent.address())
            .with_context(|| format!("connection {number} was refused"))?;
        stream.set_nonblocking(true)?;
        idle.push(stream);
    }
    let deadline = Instant::now() + IDLE_TIMEOUT * 5;
    let mut scrapes = 0;
    while !idle.is_empty() {
        let begun = Instant::now();
        let metrics = agent.scrape()?;
        ensure!(begun.elapsed() < SCRAPE_WITHIN, "a scrape took {:?}", begun.elapsed());
        let files = metrics.get("process_open_fds", &[]).context("no process_open_fds")?;
        // 512 connections and its own some forty files.
        ensure!(files < 640.0, "the agent holds {files} files");
        scrapes += 1;
        idle.retain(|stream| !closed(stream));
        ensure!(Instant::now() < deadline, "{} idle connections are still open", idle.len());
    }
    ensure!(scrapes > 3, "only {scrapes} scrapes while they were open");
    Ok(())
}
