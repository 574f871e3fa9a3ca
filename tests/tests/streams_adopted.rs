//! An agent that comes into the middle of running streams: it adopts them, marks them, and invents nothing.
//! Then it is killed in the middle of others, and the next one does the same.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tests::{
    agent::Agent,
    bpf::Held,
    cgroup::Cgroup,
    demo::client::Connection,
    metrics::Metrics,
    process::{PATIENCE, wait_until},
    streams::{
        http::{HttpStream, Leave, Request, connect},
        record::{Kind, Record},
        server::StreamServer,
    },
};
use tokio::{runtime::Runtime, task::JoinSet};

const STREAMS: u32 = 100;
/// Of the first streams these are left by their clients.
const SHUT_DOWN: u32 = 20;
const RESET: u32 = 20;
/// Connections without a stream.
const IDLE: u32 = 10;
/// Requests on each connection that is still there after the streams.
const REQUESTS: u32 = 3;
/// What every stream that was open before the agent is called.
const PREEXISTING: [(&str, &str); 1] = [("route", "{preexisting}")];

/// How a stream goes on once the agent is there.
#[derive(Clone, Copy)]
enum Then {
    Finish,
    Leave(Leave),
}

/// Opens a stream of ten seconds and reads a little of it.
async fn begin(connection: Connection, id: u32) -> Result<HttpStream> {
    let (kind, path) =
        if id.is_multiple_of(2) { (Kind::Sse, "/sse/early") } else { (Kind::Ndjson, "/ndjson/early") };
    let mut stream =
        HttpStream::open(connection, &Request::get(id, kind, path, "events=50&interval=200")).await?;
    stream.take(3).await?;
    Ok(stream)
}

/// Begins a stream on each connection, numbered from `first` on.
async fn begin_all(connections: Vec<Connection>, first: u32) -> Result<Vec<HttpStream>> {
    let mut opening = JoinSet::new();
    for (connection, id) in connections.into_iter().zip(first..) {
        opening.spawn(begin(connection, id));
    }
    let mut streams = Vec::new();
    while let Some(stream) = opening.join_next().await {
        streams.push(stream??);
    }
    Ok(streams)
}

/// Lets each stream go on as it should; the records, and the connections that are free again.
async fn go_on(streams: Vec<(HttpStream, Then)>) -> Result<(Vec<Record>, Vec<Connection>)> {
    let mut going = JoinSet::new();
    for (mut stream, then) in streams {
        going.spawn(async move {
            match then {
                Then::Finish => {
                    stream.finish().await.map(|(record, connection, _)| (record, Some(connection)))
                }
                Then::Leave(how) => {
                    stream.take(5).await?;
                    stream.leave(how).await.map(|record| (record, None))
                }
            }
        });
    }
    let (mut records, mut connections) = (Vec::new(), Vec::new());
    while let Some(ended) = going.join_next().await {
        let (record, connection) = ended??;
        records.push(record);
        connections.extend(connection);
    }
    Ok((records, connections))
}

async fn connect_all(server: SocketAddr, count: u32) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut connection = connect(server).await?;
        connection.exchange("GET", "/plain/early", &[], &[]).await?;
        connections.push(connection);
    }
    Ok(connections)
}

async fn ask(connections: &mut [Connection]) -> Result<()> {
    for connection in connections {
        for _ in 0..REQUESTS {
            connection.exchange("GET", "/plain/late", &[], &[]).await?;
        }
    }
    Ok(())
}

/// Counts that must be there, and nothing besides: active, completed and left streams, requests.
fn expect(agent: &Agent, when: &str, expected: [u32; 4]) -> Result<()> {
    let seen = |metrics: &Metrics| {
        let ended = |outcome| {
            let labels = [PREEXISTING[0], ("status_code", "000"), ("outcome", outcome)];
            metrics.sum("chat_streams_total", &labels)
        };
        let late = [("route", "/plain/late"), ("status_code", "200"), ("method", "GET")];
        [
            metrics.sum("chat_streams_active", &PREEXISTING),
            ended("completed"),
            ended("client_abort"),
            metrics.sum("chat_http_requests_total", &late),
            // Whatever else there is must be nothing else.
            metrics.sum("chat_streams_active", &[]),
            metrics.sum("chat_streams_total", &[]),
            metrics.sum("chat_http_requests_total", &[]),
            metrics.sum("chat_http_request_duration_seconds_count", &[]),
            metrics.sum("chat_stream_time_to_headers_seconds_count", &[]),
        ]
    };
    let [active, completed, left, requests] = expected.map(f64::from);
    let expected = [active, completed, left, requests, active, completed + left, requests, requests, 0.0];
    let equal = |metrics: &Metrics| {
        seen(metrics).iter().zip(&expected).all(|(seen, expected)| (seen - expected).abs() < 0.5)
    };
    let metrics = agent.scrape_until(Duration::from_secs(5), equal)?;
    ensure!(
        equal(&metrics),
        "{when}, streams active, completed, left, and requests; all active, all ended, all requests, request durations, \
        times to headers: driver {expected:?}, observer {:?}",
        seen(&metrics)
    );
    Ok(())
}

#[test]
fn running_streams_are_adopted_by_every_agent_that_comes() -> Result<()> {
    let cgroup = Cgroup::create("observer-adopted")?;
    let server = StreamServer::start(&cgroup)?;
    let runtime = Runtime::new()?;
    let connections = runtime.block_on(connect_all(server.address(), STREAMS))?;
    let mut idle = runtime.block_on(connect_all(server.address(), IDLE))?;
    let streams = runtime.block_on(begin_all(connections, 1))?;

    let mut agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    expect(&agent, "among running streams", [STREAMS, 0, 0, 0])?;
    let then = |index: u32| match index {
        _ if index < SHUT_DOWN => Then::Leave(Leave::ShutDown),
        _ if index < SHUT_DOWN + RESET => Then::Leave(Leave::Reset),
        _ => Then::Finish,
    };
    let streams = streams.into_iter().zip((0..).map(then)).collect();
    let (records, mut free) = runtime.block_on(go_on(streams))?;
    server.check(&records)?;
    let (left, finished) = (SHUT_DOWN + RESET, STREAMS - SHUT_DOWN - RESET);
    expect(&agent, "after these streams", [0, finished, left, 0])?;
    free.append(&mut idle);
    runtime.block_on(ask(&mut free))?;
    let asked = u32::try_from(free.len())? * REQUESTS;
    expect(&agent, "after requests on the same connections", [0, finished, left, asked])?;

    // Streams that the first agent saw from their start, and that the second finds.
    let count = u32::try_from(free.len())?;
    let streams = runtime.block_on(begin_all(free, 1000))?;
    let held = Held::by(agent.pid())?;
    agent.process().signal(Signal::KILL)?;
    drop(agent);
    wait_until("the kernel has freed what the killed agent had", PATIENCE, || {
        Ok(held.remaining()? == Held::default())
    })?;
    let agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    expect(&agent, "among streams that another agent saw before", [count, 0, 0, 0])?;
    let streams = streams.into_iter().map(|stream| (stream, Then::Finish)).collect();
    let (records, mut free) = runtime.block_on(go_on(streams))?;
    server.check(&records).context("streams of the second agent")?;
    expect(&agent, "after the other streams", [0, count, 0, 0])?;
    runtime.block_on(ask(&mut free))?;
    expect(&agent, "after other requests", [0, count, 0, count * REQUESTS])
}
