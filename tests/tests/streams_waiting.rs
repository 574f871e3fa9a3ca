//! A model that hangs: what waits for its first event is seen while it waits, from the app's side and from the upstream's.

use std::{net::SocketAddr, path::Path, thread, time::Duration};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    metrics::Metrics,
    process::{Background, PATIENCE},
    streams::{
        http::{HttpStream, Request, connect},
        record::{Kind, Record},
        server::StreamServer,
    },
};
use tokio::{runtime::Runtime, task::JoinSet};

const STREAMS: u32 = 39;
/// Milliseconds until the first event.
const FIRST: u32 = 4000;

const ROUTE: &[(&str, &str)] = &[("kind", "sse"), ("route", "/sse/hang")];

fn agent(folder: &Path, cgroup: &Cgroup) -> Result<Agent> {
    let config = folder.join("observer.toml");
    std::fs::write(&config, "[streams]\nstall = \"2s\"\n[docker]\nsocket = \"\"\n")?;
    Agent::start(["--config", &config.display().to_string(), "--target", &cgroup.selector()])
}

async fn hang(server: SocketAddr) -> Result<Vec<Record>> {
    let mut open = JoinSet::new();
    for id in 1..=STREAMS {
        open.spawn(async move {
            let request =
                Request::get(id, Kind::Sse, "/sse/hang", &format!("events=3&interval=300&first={FIRST}"));
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

#[test]
fn streams_that_wait_are_seen_while_they_wait() -> Result<()> {
    let folder = TempDir::new()?;
    let cgroup = Cgroup::create("waiting")?;
    let server = StreamServer::start(&cgroup)?;
    let agent = agent(folder.path(), &cgroup)?;
    let runtime = Runtime::new()?;
    let playing = runtime.spawn(hang(server.address()));
    let all = u64::from(STREAMS);
    let count = |metrics: &Metrics, name: &str| metrics.count(name, ROUTE);

    let waiting = agent.scrape_until(PATIENCE, |metrics| count(metrics, "chat_streams_waiting") == all)?;
    ensure!(
        count(&waiting, "chat_streams_started_total") == all
            && count(&waiting, "chat_streams_waiting") == all
    );
    let stalled =
        agent.scrape_until(PATIENCE, |metrics| count(metrics, "chat_stream_stalls_total") == all)?;
    ensure!(count(&stalled, "chat_stream_stalls_total") == all, "a wait is a stall while it lasts");
    ensure!(count(&stalled, "chat_streams_waiting") == all, "and none has ended");
    let oldest = stalled.sum("chat_stream_oldest_wait_seconds", ROUTE);
    ensure!((1.9..3.9).contains(&oldest), "{oldest}");
    ensure!(count(&stalled, "chat_stream_time_to_first_event_seconds_count") == 0);

    let first = "chat_stream_time_to_first_event_seconds_count";
    let spoken = agent.scrape_until(PATIENCE, |metrics| count(metrics, first) == all)?;
    ensure!(count(&spoken, first) == all && count(&spoken, "chat_streams_active") == all, "not at the end");
    ensure!(count(&spoken, "chat_streams_waiting") == 0);
    ensure!(spoken.sum("chat_stream_oldest_wait_seconds", ROUTE) < 0.001);

    let records = runtime.block_on(playing)??;
    ensure!(records.len() == STREAMS as usize);
    let over = agent.scrape_until(PATIENCE, |metrics| count(metrics, "chat_streams_total") == all)?;
    for name in ["chat_streams_total", "chat_streams_started_total", "chat_stream_stalls_total", first] {
        ensure!(count(&over, name) == all, "{name}: {}", count(&over, name));
    }
    let waited = over.sum("chat_stream_time_to_first_event_seconds_sum", ROUTE) / f64::from(STREAMS);
    ensure!((waited - f64::from(FIRST) / 1000.0).abs() < 0.3, "{waited}");
    agent.stop()?;
    Ok(())
}

#[test]
fn an_upstream_that_thinks_behind_its_head_is_told_by_its_first_event() -> Result<()> {
    let folder = TempDir::new()?;
    let (cgroup, elsewhere) = (Cgroup::create("waiting-app")?, Cgroup::create("waiting-model")?);
    let model = StreamServer::start(&elsewhere)?;
    let agent = agent(folder.path(), &cgroup)?;
    let target = format!("http://{}/sse/think?id=1&events=20&interval=200&first=2000", model.address());
    let fetch = format!("fetch('{target}').then((answer) => answer.text())");
    let mut app = Background::start(cgroup.command("node").args(["-e", &fetch]))?;
    let name = "chat_upstream_time_to_first_event_seconds";
    let count = |metrics: &Metrics| metrics.count(&format!("{name}_count"), &[]);
    let metrics = agent.scrape_until(PATIENCE, |metrics| count(metrics) == 1)?;
    ensure!(count(&metrics) == 1 && app.exited()?.is_none(), "it is told before the answer has ended");
    let time = metrics.sum(&format!("{name}_sum"), &[]);
    ensure!((1.9..2.6).contains(&time), "{time}");
    let ended = |metrics: &Metrics| metrics.count("chat_upstream_requests_total", &[]) == 1;
    let metrics = agent.scrape_until(PATIENCE, ended)?;
    ensure!(ended(&metrics) && count(&metrics) == 1, "and not again at its end");
    let first_byte = metrics.sum("chat_upstream_time_to_first_byte_seconds_sum", &[]);
    ensure!(first_byte < 0.5, "{first_byte}");
    thread::sleep(Duration::from_millis(100));
    ensure!(count(&agent.scrape()?) == 1);
    agent.stop()?;
    Ok(())
}
