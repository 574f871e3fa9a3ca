//! A minute of streams of every kind at once, and answers that are none.
//! The agent is scraped each second meanwhile, so that what is open can be judged too.

use std::{
    io::Read as _,
    sync::LazyLock,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    metrics::Metrics,
    streams::{
        compare::{self, wait_equal},
        http::{HttpStream, Request, connect},
        record::{Kind, Record},
        requests::{Answered, ask},
        server::StreamServer,
        websocket::Session,
    },
};
use tokio::{runtime::Runtime, task::JoinSet};

/// The agent's default `streams.stall`.
pub(crate) const STALL: Duration = Duration::from_secs(10);
/// Story: the first event after 1 s, one each 250 ms, silence from 22.75 s to 37.75 s, the end at 60 s.
const STORY: &str = "first=1000&interval=250&events=178&pause_after=88&pause=14750";
/// Comments for half a minute before anything is said.
const HEARTBEAT: &str = "heartbeat=1000&first=30500&interval=200&events=3";
/// Sessions at the same time.
pub(crate) const WEBSOCKETS: u32 = 100;
/// Messages of each session, each way.
pub(crate) const MESSAGES: u32 = 10;
const MINUTE: Duration = Duration::from_mins(1);

/// What the run gave.
pub(crate) struct Run {
    /// Every stream.
    pub(crate) records: Vec<Record>,
    /// What was no stream.
    pub(crate) answered: Vec<Answered>,
    /// Scrapes while it went on, by the time since its start.
    pub(crate) scrapes: Vec<(Duration, Metrics)>,
    /// The scrape at the end.
    pub(crate) last: Metrics,
}

/// Made by whichever test asks first.
static RUN: LazyLock<Result<Run, String>> = LazyLock::new(|| run().map_err(|error| format!("{error:#}")));

fn session(number: u32) -> Session {
    let server_closes = number % 2 == 1;
    let sizes = [20, 125, 126, 4000, 70_000];
    Session {
        id: 100 + number,
        path: "/websocket/chat",
        messages: MESSAGES,
        // Either way it lasts a minute.
        interval: MINUTE / if server_closes { MESSAGES - 1 } else { MESSAGES },
        size: sizes[number as usize % sizes.len()],
        fragments: if number.is_multiple_of(3) { 3 } else { 1 },
        ping: Duration::from_secs(7),
        server_closes,
    }
}

fn streams() -> Vec<Request> {
    vec![
        Request::get(1, Kind::Sse, "/sse/story", STORY),
        Request::get(2, Kind::Sse, "/sse/heartbeat", HEARTBEAT),
        Request::get(3, Kind::Sse, "/sse/compressed", "gzip=1&first=500&events=100&interval=100"),
        Request::get(4, Kind::Ndjson, "/ndjson/lines", "first=200&events=100&interval=100&heartbeat=1050"),
        Request::get(5, Kind::Chunked, "/chunked/slow", "events=50&interval=100&size=3000"),
    ]
}

/// Plays one stream; of a compressed one, checks what came.
async fn play(server: std::net::SocketAddr, request: Request) -> Result<(Record, Option<usize>)> {
    let stream = HttpStream::open(connect(server).await?, &request).await?;
    let (record, _, body) = stream.finish().await.with_context(|| request.target.clone())?;
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).ok();
    Ok((record, request.encoded.then_some(plain.len())))
}

async fn workload(server: &StreamServer) -> Result<(Vec<Record>, Vec<Answered>)> {
    let address = server.address();
    let mut sessions = JoinSet::new();
    for number in 0..WEBSOCKETS {
        sessions.spawn(async move { session(number).play(address).await });
    }
    let mut playing = JoinSet::new();
    for request in streams() {
        playing.spawn(play(address, request));
    }
    let fast = Request::get(6, Kind::Chunked, "/chunked/fast", "events=10&interval=100");
    let long = Request::get(7, Kind::Chunked, "/download/long", "events=50&interval=100&size=3000");
    let (fast, long) = tokio::join!(ask(address, &fast), ask(address, &long));
    let mut records = Vec::new();
    while let Some(ended) = sessions.join_next().await {
        records.push(ended??);
    }
    let (mut compressed, mut plain_bytes) = (Vec::new(), 0);
    while let Some(ended) = playing.join_next().await {
        match ended?? {
            (record, None) => records.push(record),
            (record, Some(plain)) => {
                compressed.push(record);
                plain_bytes = plain;
            }
        }
    }
    server.check(&records)?;
    let entries = server.log()?;
    let entry = entries.get(&3).context("the server did not log the compressed stream")?;
    ensure!(
        entry.bytes == plain_bytes as u64 && compressed[0].sent.messages >= 100,
        "{entry:?}, {compressed:?}"
    );
    records.extend(compressed);
    Ok((records, vec![fast?, long?]))
}

fn run() -> Result<Run> {
    let cgroup = Cgroup::create("observer-streams")?;
    let server = StreamServer::start(&cgroup)?;
    let agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    let runtime = Runtime::new()?;
    let begun = Instant::now();
    let mut scrapes = Vec::new();
    let (records, answered) = std::thread::scope(|scope| {
        let workload = scope.spawn(|| runtime.block_on(workload(&server)));
        while !workload.is_finished() {
            scrapes.push((begun.elapsed(), agent.scrape()?));
            std::thread::sleep(Duration::from_secs(1));
        }
        workload.join().map_err(|_| anyhow::anyhow!("the workload panicked"))?
    })?;
    let all = |metrics: &Metrics| compare::all(&records, STALL, metrics);
    // Where something differs, the test of its route shows it.
    let last = wait_equal(&agent, all).or_else(|_| agent.scrape())?;
    Ok(Run { records, answered, scrapes, last })
}

/// The run, which is made once.
pub(crate) fn finished() -> Result<&'static Run> {
    RUN.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}
