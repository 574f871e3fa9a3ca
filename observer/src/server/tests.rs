//! The real server on a free port of loopback, asked over plain sockets.
//! Limits are set short where a test waits for them.

use std::{
    io::Read as _,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use super::{Endpoint, Readiness, Scrape, Sources, serve};
use crate::{
    config::{self, Config, Listen},
    targets::{StateCounts, Target, TargetList},
};

pub(super) const BODY: &str = "# TYPE up gauge\nup 1\n";
/// Far above what any answer takes; reached only when something hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

struct NoTargets;

impl TargetList for NoTargets {
    fn targets(&self) -> Arc<[Target]> {
        Arc::new([])
    }
    fn state_counts(&self) -> StateCounts {
        StateCounts::default()
    }
}

pub(super) struct Running {
    pub(super) address: SocketAddr,
    readiness: Readiness,
    pub(super) stop: oneshot::Sender<()>,
    pub(super) served: JoinHandle<()>,
}

fn listening(address: SocketAddr) -> Config {
    Config { listen: Listen::Address(address), ..Config::default() }
}

async fn start(limits: config::Server, scrape: impl Scrape) -> Running {
    let config = listening(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    start_with(&Config { server: limits, ..config }, scrape).await
}

pub(super) async fn start_with(config: &Config, scrape: impl Scrape) -> Running {
    let endpoint = Endpoint::open(config).await.unwrap();
    let address = endpoint.address().unwrap();
    let limits = config.server.clone();
    let readiness = Readiness::waiting("attaching");
    let (stop, stopped) = oneshot::channel();
    let sources =
        Sources { scrape: Arc::new(scrape), targets: Arc::new(NoTargets), readiness: readiness.clone() };
    let served = tokio::spawn(async move {
        serve(endpoint, &limits, sources, async { drop(stopped.await) }).await.unwrap();
    });
    Running { address, readiness, stop, served }
}

async fn start_plain(limits: config::Server) -> Running {
    start(limits, || Ok(BODY.as_bytes().to_vec())).await
}

struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Reads until the server closes.
async fn rest(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server did not close")?;
    Ok(bytes)
}

fn answer(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("no head");
    Answer { head: String::from_utf8(bytes[..end].to_vec()).unwrap(), body: bytes[end + 4..].to_vec() }
}

async fn ask_with(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(&rest(&mut stream).await.unwrap())
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    ask_with(address, method, path, "").await
}

/// Whether the server has closed an idle connection, cleanly or by a reset.
pub(super) async fn is_closed(stream: &mut TcpStream) -> bool {
    match rest(stream).await {
        Ok(bytes) => bytes.is_empty(),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_may_open_files_although_the_thread_that_asks_for_it_may_not() {
    let scrape = || Ok(std::fs::read_to_string("/proc/self/stat")?.into_bytes());
    let server = start(config::Server::default(), scrape).await;
    // The runtime has no thread yet for work that blocks.
    let answer = ask(server.address, "GET", "/metrics").await;
    assert_eq!(answer.status(), "200", "{}", answer.text());
    assert!(answer.text().contains('('), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_come_plain_and_packed() {
    let running = start_plain(config::Server::default()).await;
    let address = running.address;
    let plain = ask(address, "GET", "/metrics").await;
    assert_eq!((plain.status(), plain.text()), ("200", BODY));
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(plain.header("content-encoding"), None);

    let packed = ask_with(address, "GET", "/metrics", "Accept-Encoding: deflate, gzip\r\n").await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("vary"), Some("accept-encoding"));
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&*packed.body).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, BODY);

    let head = ask(address, "HEAD", "/metrics").await;
    assert_eq!((head.status(), head.text()), ("200", ""));
    assert_eq!(head.header("content-length"), Some(BODY.len().to_string().as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_methods_are_refused() {
    let running = start_plain(config::Server::default()).await;
    let address = running.address;
    assert_eq!(ask(address, "GET", "/metric").await.status(), "404");
    assert_eq!(ask(address, "GET", "/metrics/").await.status(), "404");
    for path in ["/", "/metrics", "/healthz", "/readyz"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
            let refused = ask(address, method, path).await;
            assert_eq!(refused.status(), "405", "{method} {path}");
            assert_eq!(refused.header("allow"), Some("GET,HEAD"), "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_answered_both_ways_and_health_always() {
    let running = start_plain(config::Server::default()).await;
    let (address, readiness) = (running.address, running.readiness.clone());
    let waiting = ask(address, "GET", "/readyz").await;
    assert_eq!((waiting.status(), waiting.text()), ("503", "not ready: attaching\n"));
    assert_eq!(ask(address, "GET", "/healthz").await.status(), "200");
    readiness.set_ready();
    assert_eq!(ask(address, "GET", "/readyz").await.status(), "200");
    readiness.set_reason("detaching");
    assert_eq!(ask(address, "GET", "/readyz").await.text(), "not ready: detaching\n");
    assert_eq!(ask(address, "GET", "/healthz").await.text(), "ok\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_allows_nothing_from_elsewhere() {
    let running = start_plain(config::Server::default()).await;
    let address = running.address;
    let page = ask(address, "GET", "/").await;
    assert_eq!(page.status(), "200");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("style-src 'unsafe-inline'"),
        "{policy}"
    );
    for link in ["href=\"/metrics\"", "href=\"/healthz\"", "href=\"/readyz\"", "Not ready: attaching"] {
        assert!(page.text().contains(link), "{link}");
    }
    assert!(!page.text().contains("://"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mebibyte_of_headers_is_refused_and_the_answer_arrives() {
    let running = start_plain(config::Server::default()).await;
    let address = running.address;
    let one_long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(1 << 20));
    let many = format!(
        "GET /metrics HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X-Many: aaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(1 << 15)
    );
    for request in [one_long, many] {
        assert!(request.len() >= 1 << 20);
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // The server has closed once this returns.
        let refused = answer(&rest(&mut stream).await.unwrap());
        assert_eq!(refused.status(), "431");
    }
    assert_eq!(ask(address, "GET", "/metrics").await.status(), "200");
}

/// 1,000, or what fits twice (both ends are here) into the files that this process may open beside other tests.
fn idle_clients() -> u64 {
    let limits = procfs::process::Process::myself().unwrap().limits().unwrap();
    match limits.max_open_files.soft_limit {
        procfs::process::LimitValue::Unlimited => 1000,
        procfs::process::LimitValue::Value(files) => (files.saturating_sub(500) / 2).clamp(100, 1000),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_after_the_limit_and_do_not_stop_scrapes() {
    let idle_timeout = Duration::from_secs(2);
    let limits = config::Server { idle_timeout, max_connections: 2000, ..config::Server::default() };
    let running = start_plain(limits).await;
    let address = running.address;
    let opened = Instant::now();
    let mut silent = Vec::new();
    for number in 0..idle_clients() {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 1 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await.unwrap();
        }
        silent.push(stream);
    }
    let mut kept_alive = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        kept_alive.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut bytes = [0; 512];
        let length = timeout(PATIENCE, kept_alive.read(&mut bytes)).await.unwrap().unwrap();
        assert_eq!(answer(&bytes[..length]).text(), "ok\n");
    }
    assert_eq!(ask(address, "GET", "/metrics").await.text(), BODY);
    for stream in &mut silent {
        assert!(is_closed(stream).await);
    }
    assert!(is_closed(&mut kept_alive).await);
    assert!(opened.elapsed() >= idle_timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_places_are_held_the_longest_idle_one_makes_room() {
    let limits = config::Server { max_connections: 50, ..config::Server::default() };
    let running = start_plain(limits).await;
    let address = running.address;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(ask(address, "GET", "/metrics").await.text(), BODY);
    // One that was opened early has been closed long before its time limit, the last one has not.
    assert!(is_closed(&mut silent[0]).await);
    let last = silent.last_mut().unwrap();
    last.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(answer(&rest(last).await.unwrap()).text(), "ok\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_closed() {
    let limits = config::Server { idle_timeout: Duration::from_secs(1), ..config::Server::default() };
    let running = start(limits, || Ok(vec![b'a'; 32 << 20])).await;
    let address = running.address;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let first = timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap();
    assert_eq!(first, b'H');
    tokio::time::sleep(Duration::from_secs(4)).await;
    let cut_off = match rest(&mut stream).await {
        Ok(bytes) => bytes.len() < 32 << 20,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(cut_off);
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_run_one_at_a_time() {
    let (running, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let scrape = move || {
        seen.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(30));
        running.fetch_sub(1, Ordering::SeqCst);
        Ok(BODY.as_bytes().to_vec())
    };
    let running = start(config::Server::default(), scrape).await;
    let address = running.address;
    let asked: Vec<_> =
        (0..8).map(|_| tokio::spawn(async move { ask(address, "GET", "/metrics").await })).collect();
    for one in asked {
        assert_eq!(one.await.unwrap().text(), BODY);
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_that_fails_or_panics_is_an_error_and_the_next_one_works() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let scrape = || match CALLS.fetch_add(1, Ordering::SeqCst) {
        0 => Err(anyhow::anyhow!("map gone").context("reading peers")),
        1 => panic!("on purpose, in a test"),
        _ => Ok(BODY.as_bytes().to_vec()),
    };
    let running = start(config::Server::default(), scrape).await;
    let address = running.address;
    let failed = ask(address, "GET", "/metrics").await;
    assert_eq!((failed.status(), failed.text()), ("500", "the scrape failed: reading peers: map gone\n"));
    assert_eq!(ask(address, "GET", "/metrics").await.status(), "500");
    assert_eq!(ask(address, "GET", "/metrics").await.text(), BODY);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_a_running_answer_and_waits_for_no_idle_client() {
    let asked = Arc::new(AtomicBool::new(false));
    let signal = Arc::clone(&asked);
    let scrape = move || {
        signal.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(100));
        Ok(BODY.as_bytes().to_vec())
    };
    let Running { address, stop, served, .. } = start(config::Server::default(), scrape).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET /metrics HTT").await.unwrap();
    let mut scraping = TcpStream::connect(address).await.unwrap();
    scraping.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    timeout(PATIENCE, async {
        while !asked.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();

    let stopping = Instant::now();
    stop.send(()).unwrap();
    timeout(PATIENCE, served).await.unwrap().unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(1), "{:?}", stopping.elapsed());
    assert_eq!(answer(&rest(&mut scraping).await.unwrap()).text(), BODY);
    assert!(is_closed(&mut idle).await);
    assert!(is_closed(&mut half).await);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = Endpoint::open(&listening(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).await.unwrap();
    let address = taken.address().unwrap();
    let error = Endpoint::open(&listening(address)).await.err().unwrap().to_string();
    let expected = format!("port {} on 127.0.0.1 is taken", address.port());
    assert!(error.starts_with(&expected) && error.contains("--listen"), "{error}");
}
