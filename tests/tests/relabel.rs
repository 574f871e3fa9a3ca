//! A container whose name and app change fifty times under load: its number, connections and counts stay, no series is
//! there twice, and at each moment there is one name.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    fake_docker::FakeDocker,
    http::{
        kinds::MIXED,
        load::{self, Load},
        server::{Kind, Server},
    },
    metrics::Metrics,
    streams::{
        http::{HttpStream, Request, connect},
        record::{Kind as StreamKind, Record},
        server::StreamServer,
    },
};
use tokio::{runtime::Runtime, task::JoinSet};

const CONNECTIONS: usize = 200;
const REQUESTS: usize = 60_000;
const STREAMS: u32 = 20;
const CHANGES: usize = 50;
/// How long the agent may take to show a change.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);

/// Images of three apps, one of which is none.
const IMAGES: [&str; 3] = ["lobehub/lobe-chat:1", "open-webui/open-webui:0.6", "acme/unknown:2"];

async fn streams(server: SocketAddr) -> Result<Vec<Record>> {
    let mut open = JoinSet::new();
    for id in 1..=STREAMS {
        open.spawn(async move {
            let query = "events=120&interval=100";
            let request = Request::get(id, StreamKind::Sse, "/sse/long", query);
            Ok::<_, anyhow::Error>(
                HttpStream::open(connect(server).await?, &request).await?.finish().await?.0,
            )
        });
    }
    let mut records = Vec::new();
    while let Some(record) = open.join_next().await {
        records.push(record??);
    }
    Ok(records)
}

/// Names under which a target is shown.
fn names(metrics: &Metrics) -> BTreeSet<String> {
    let all = metrics.iter().filter_map(|(series, _)| series.labels.get("container").cloned());
    all.collect()
}

/// Fails where a series is there twice.
fn unique(metrics: &Metrics) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (series, _) in metrics.iter() {
        ensure!(seen.insert(format!("{series:?}")), "{series:?} is there twice");
    }
    Ok(())
}

#[test]
fn a_name_and_an_app_change_fifty_times_under_load() -> Result<()> {
    let id = format!("{:064x}", u128::from(std::process::id()) << 64 | 0x00c0_ffee);
    let cgroup = Cgroup::named(id.clone())?;
    let docker = FakeDocker::start(&id, "name-0", IMAGES[0])?;
    let server = Server::start(Kind::Node(&[]), &cgroup, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let streaming = StreamServer::start(&cgroup)?;
    let socket = docker.socket();
    let socket = socket.to_str().context("the socket's path is text")?;
    let agent = Agent::start(["--docker-socket", socket, "--target", "container:name-*"])?;

    let runtime = Runtime::new()?;
    let load = Load {
        server: server.address(),
        kinds: MIXED,
        requests: REQUESTS,
        connections: CONNECTIONS,
        renewed_after: Some(500),
        seed: 12,
    };
    let playing = runtime.spawn(load::run(load));
    let open = runtime.spawn(streams(streaming.address()));
    let mut most: BTreeMap<&str, f64> = BTreeMap::new();
    for change in 1..=CHANGES {
        let name = format!("name-{change}");
        docker.rename(&name, IMAGES[change % IMAGES.len()]);
        let deadline = Instant::now() + SHOWN_WITHIN;
        loop {
            let metrics = agent.scrape()?;
            unique(&metrics)?;
            let shown = names(&metrics);
            ensure!(shown.len() == 1, "one target has the names {shown:?}");
            for counter in [
                "chat_http_requests_total",
                "chat_tcp_connections_opened_total",
                "chat_tcp_sent_bytes_total",
                "chat_stream_bytes_total",
                "chat_streams_started_total",
            ] {
                let now = metrics.sum(counter, &[]);
                let before = most.insert(counter, now).unwrap_or_default();
                ensure!(now >= before, "{counter} went from {before} to {now}");
            }
            if shown.contains(&name) {
                break;
            }
            ensure!(Instant::now() < deadline, "{name} is not shown: {shown:?}");
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(60));
    }
    let ledger = runtime.block_on(playing)??;
    let records = runtime.block_on(open)??;

    let mut asked: BTreeMap<(String, u16), u64> = BTreeMap::new();
    for (route, requests) in ledger.routes() {
        for (status, count) in &requests.statuses {
            *asked.entry((route.method.clone(), *status)).or_default() += count;
        }
    }
    let bytes: u64 = records.iter().map(|record| record.sent.bytes).sum();
    let metrics = agent.scrape_until(Duration::from_secs(20), |metrics| {
        metrics.count("chat_streams_total", &[]) >= u64::from(STREAMS)
            && metrics.count("chat_http_requests_total", &[]) >= asked.values().sum()
    })?;
    unique(&metrics)?;
    for ((method, status), count) in &asked {
        let labels = [("method", method.as_str()), ("status_code", &format!("{status:03}"))];
        let seen = metrics.count("chat_http_requests_total", &labels);
        ensure!(seen == *count, "{method} {status}: asked {count}, seen {seen}");
    }
    ensure!(metrics.count("chat_http_requests_total", &[]) == asked.values().sum::<u64>());
    for (name, known) in [
        ("chat_streams_started_total", u64::from(STREAMS)),
        ("chat_streams_total", u64::from(STREAMS)),
        ("chat_stream_time_to_first_event_seconds_count", u64::from(STREAMS)),
    ] {
        ensure!(metrics.count(name, &[]) == known, "{name}: {}", metrics.count(name, &[]));
    }
    let sent = metrics.count("chat_stream_bytes_total", &[("direction", "sent")]);
    ensure!(sent == bytes, "streams sent {bytes} bytes, {sent} are shown");
    ensure!(metrics.sum("chat_target_restarts_total", &[]) < 0.5, "a change of names is no restart");
    agent.stop()?;
    Ok(())
}
