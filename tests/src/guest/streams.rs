//! Streams of events that end by themselves, or that the client leaves: each end, chunk and byte as the client has it.
//! Times are not compared, since an emulated machine keeps none.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tokio::{runtime::Runtime, task::JoinSet};

use super::{observe, service::Service};
use crate::{
    cgroup::Cgroup,
    streams::{
        compare::{counts, wait_equal},
        http::{HttpStream, Leave, Request, connect},
        record::{Kind, Record},
    },
};

/// Streams of each kind that are read to their end.
const FINISHED: u32 = 10;
/// Streams that are left in each way.
const LEFT: u32 = 5;
/// Events that those are left after.
const LEFT_AFTER: usize = 4;

/// Plays all streams at once; says how many they were.
pub fn test() -> Result<String> {
    let cgroup = Cgroup::create("streams")?;
    let service = Service::start(&cgroup)?;
    let agent = observe(&cgroup)?;
    let records = Runtime::new()?.block_on(play(service.address()))?;
    ensure!(records.len() == (2 * FINISHED + 2 * LEFT) as usize, "{} streams were played", records.len());
    wait_equal(&agent, |metrics| counts(&records, metrics))?;
    agent.stop()?;
    Ok(format!("{} streams", records.len()))
}

async fn play(server: SocketAddr) -> Result<Vec<Record>> {
    let mut streams = JoinSet::new();
    let mut ids = 0..;
    for (kind, path) in [(Kind::Sse, "/sse/finished"), (Kind::Ndjson, "/ndjson/finished")] {
        for id in ids.by_ref().take(FINISHED as usize) {
            streams.spawn(finished(server, id, kind, path));
        }
    }
    for how in [Leave::Close, Leave::Reset] {
        for id in ids.by_ref().take(LEFT as usize) {
            streams.spawn(left(server, id, how));
        }
    }
    let mut records = Vec::new();
    while let Some(record) = streams.join_next().await {
        records.push(record.context("a stream panicked")??);
    }
    Ok(records)
}

async fn finished(server: SocketAddr, id: u32, kind: Kind, path: &str) -> Result<Record> {
    let query = format!("events={}&size=40&interval=30", 10 + id);
    let stream = HttpStream::open(connect(server).await?, &Request::get(id, kind, path, &query)).await?;
    Ok(stream.finish().await?.0)
}

async fn left(server: SocketAddr, id: u32, how: Leave) -> Result<Record> {
    let request = Request::get(id, Kind::Sse, "/sse/left", "events=1000&size=40&interval=100");
    let mut stream = HttpStream::open(connect(server).await?, &request).await?;
    stream.take(LEFT_AFTER).await?;
    stream.leave(how).await
}
