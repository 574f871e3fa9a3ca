//! Real applications that stream: LitServe with two workers, and a standalone Next.js server.
//! What the metrics say of each route is what the driver saw.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use tests::{
    agent::Agent,
    apps::App,
    cgroup::Cgroup,
    process::{PATIENCE, wait_until},
    streams::{
        compare::{self, wait_equal},
        http::{HttpStream, Leave, Request, connect},
        record::{Kind, Outcome, Record},
    },
};
use tokio::{runtime::Runtime, task::JoinSet};

/// The agent's default `streams.stall`.
const STALL: Duration = Duration::from_secs(10);
const JSON: &str = "Content-Type: application/json";

/// What an application logs of a stream.
#[derive(Deserialize)]
struct Entry {
    id: u32,
    events: u64,
}

fn post(id: u32, kind: Kind, route: &str, body: &serde_json::Value) -> Request {
    Request {
        id,
        kind,
        method: "POST",
        target: route.to_owned(),
        route: route.to_owned(),
        headers: vec![JSON],
        body: body.to_string().into_bytes(),
        encoded: false,
    }
}

/// Plays all at the same time; those with an end to make read so many chunks first.
async fn play(app: &App, streams: Vec<(Request, Option<(usize, Leave)>)>) -> Result<Vec<Record>> {
    let mut playing = JoinSet::new();
    let address = app.address();
    for (request, end) in streams {
        playing.spawn(async move {
            let mut stream = HttpStream::open(connect(address).await?, &request).await?;
            let Some((chunks, how)) = end else {
                return stream.finish().await.map(|(record, ..)| record);
            };
            stream.take(chunks).await?;
            stream.leave(how).await
        });
    }
    let mut records = Vec::new();
    while let Some(record) = playing.join_next().await {
        records.push(record??);
    }
    Ok(records)
}

/// Waits until the application has logged all finished streams, with so many events more or less than the driver saw.
fn check(app: &App, records: &[Record], more: impl Fn(&Record) -> u64) -> Result<()> {
    let finished = || records.iter().filter(|record| record.outcome == Outcome::Completed);
    let entries = || -> Result<Vec<Entry>> {
        app.log().iter().map(|line| serde_json::from_str(line).context("not an entry")).collect()
    };
    wait_until("the application has logged every stream", PATIENCE, || {
        let entries = entries()?;
        Ok(finished().all(|record| entries.iter().any(|entry| entry.id == record.id)))
    })?;
    for entry in entries()? {
        for record in finished().filter(|record| record.id == entry.id) {
            let expected = entry.events + more(record);
            ensure!(record.sent.messages == expected, "{expected} events are to be in {record:?}");
        }
    }
    Ok(())
}

#[test]
fn litserve_with_two_workers() -> Result<()> {
    let cgroup = Cgroup::create("observer-litserve")?;
    let app = App::litserve(&cgroup)?;
    let selector = format!("{},app=litserve", cgroup.selector());
    let agent = Agent::start(["--docker-socket", "", "--target", &selector])?;
    let runtime = Runtime::new()?;
    // Long enough to be a stream although its head says nothing.
    let wanted = |id: u32| json!({ "id": id, "events": 30, "first": 0.3, "interval": 0.1 });
    let predict = |id| (post(id, Kind::Chunked, "/predict", &wanted(id)), None);
    let chat = |id| {
        let message = json!({ "role": "user", "content": wanted(id).to_string() });
        let body = json!({ "model": "story", "stream": true, "messages": [message] });
        (post(id, Kind::Sse, "/v1/chat/completions", &body), None)
    };
    let streams = (1..5).map(predict).chain((11..15).map(chat)).collect();
    let records = runtime.block_on(play(&app, streams))?;
    // OpenAI's API ends with a chunk that says why, and one that says that it is done.
    check(&app, &records, |record| if record.kind == Kind::Sse { 2 } else { 0 })?;
    wait_equal(&agent, |metrics| compare::all(&records, STALL, metrics))?;

    let leave = |(request, _): (Request, Option<_>), how| (request, Some((25, how)));
    let streams = vec![leave(predict(21), Leave::Close), leave(chat(22), Leave::Reset)];
    let mut all = runtime.block_on(play(&app, streams))?;
    all.extend(records);
    wait_equal(&agent, |metrics| compare::ends(&all, metrics)).map(drop)
}

#[test]
fn a_standalone_next_server() -> Result<()> {
    let cgroup = Cgroup::create("observer-next")?;
    let app = App::next(&cgroup)?;
    let agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    let runtime = Runtime::new()?;
    let chat = |id: u32, events: u32| {
        let wanted = json!({ "id": id, "events": events, "first": 500, "interval": 50, "heartbeat": 333 });
        post(id, Kind::Sse, "/api/chat", &wanted)
    };
    let streams = (1..21).map(|id| (chat(id, 40 + id), None)).collect();
    let records = runtime.block_on(play(&app, streams))?;
    check(&app, &records, |_| 0)?;
    wait_equal(&agent, |metrics| compare::all(&records, STALL, metrics))?;

    let leave = |id, how| (chat(id, 1000), Some((20, how)));
    let mut streams: Vec<_> = (21..31).map(|id| leave(id, Leave::Close)).collect();
    streams.extend((31..36).map(|id| leave(id, Leave::ShutDown)));
    streams.extend((36..41).map(|id| leave(id, Leave::Reset)));
    let mut all = runtime.block_on(play(&app, streams))?;
    all.extend(records);
    wait_equal(&agent, |metrics| compare::ends(&all, metrics)).map(drop)
}
