//! Three hundred streams with every kind of end: each outcome is counted to the unit.
//! Some servers are killed in the middle; what the kernel then sends for them is a FIN, since nothing is unread.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Result, ensure};
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    streams::{
        compare::{self, wait_equal},
        http::{HttpStream, Leave, Request, connect},
        record::{Kind, Outcome, Record},
        server::StreamServer,
    },
};
use tokio::{
    runtime::Runtime,
    sync::{Barrier, oneshot},
    task::JoinSet,
};

const FINISH: u32 = 100;
const SHUT_DOWN: u32 = 50;
const CLOSE: u32 = 50;
const RESET: u32 = 50;
const ABANDONED: u32 = 50;
/// Servers that are killed, each with its share of the abandoned streams.
const KILLED: usize = 5;

/// Events that a stream has sent before its end is made.
const EVENTS: usize = 5;

fn request(id: u32, route: &str, events: u32) -> Request {
    Request::get(id, Kind::Sse, route, &format!("events={events}&interval=150"))
}

async fn left(server: SocketAddr, id: u32, how: Leave) -> Result<Record> {
    let mut stream = HttpStream::open(connect(server).await?, &request(id, "/sse/outcomes", 1000)).await?;
    stream.take(EVENTS + id as usize % 10).await?;
    stream.leave(how).await
}

async fn finished(server: SocketAddr, id: u32) -> Result<Record> {
    let events = 10 + id % 10;
    let request = request(id, "/sse/outcomes", events);
    Ok(HttpStream::open(connect(server).await?, &request).await?.finish().await?.0)
}

/// Reads on until the server is gone; `reached` is passed by all once each stream is in its middle.
async fn abandoned(server: SocketAddr, id: u32, reached: Arc<Barrier>) -> Result<Record> {
    let mut stream = HttpStream::open(connect(server).await?, &request(id, "/sse/outcomes", 1000)).await?;
    stream.take(EVENTS).await?;
    reached.wait().await;
    stream.abandoned().await
}

async fn play(server: SocketAddr, victims: Vec<StreamServer>) -> Result<Vec<Record>> {
    let mut streams = JoinSet::new();
    let mut ids = 1..;
    for (count, how) in [(SHUT_DOWN, Leave::ShutDown), (CLOSE, Leave::Close), (RESET, Leave::Reset)] {
        for id in ids.by_ref().take(count as usize) {
            streams.spawn(left(server, id, how));
        }
    }
    for id in ids.by_ref().take(FINISH as usize) {
        streams.spawn(finished(server, id));
    }
    let reached = Arc::new(Barrier::new(ABANDONED as usize + 1));
    for (number, id) in ids.take(ABANDONED as usize).enumerate() {
        streams.spawn(abandoned(victims[number % KILLED].address(), id, Arc::clone(&reached)));
    }
    let (kill, killed) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let kill_all = || victims.into_iter().try_for_each(|mut victim| victim.kill());
        let go = killed.blocking_recv();
        go.map_err(anyhow::Error::from).and_then(|()| kill_all())
    });
    reached.wait().await;
    ensure!(kill.send(()).is_ok(), "nobody kills the servers");
    let mut records = Vec::new();
    while let Some(record) = streams.join_next().await {
        records.push(record??);
    }
    Ok(records)
}

#[test]
fn three_hundred_streams_end_as_they_ended() -> Result<()> {
    let cgroup = Cgroup::create("observer-outcomes")?;
    let server = StreamServer::start(&cgroup)?;
    let victims = (0..KILLED).map(|_| StreamServer::start(&cgroup)).collect::<Result<Vec<_>>>()?;
    let agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    let runtime = Runtime::new()?;
    let records = runtime.block_on(play(server.address(), victims))?;
    let count = |outcome| records.iter().filter(|record| record.outcome == outcome).count();
    let ends = [Outcome::Completed, Outcome::ClientAbort, Outcome::ServerAbort].map(count);
    ensure!(ends == [100, 150, 50], "{ends:?}");
    let survived: Vec<Record> =
        records.iter().filter(|record| record.outcome != Outcome::ServerAbort).cloned().collect();
    server.check(&survived)?;
    wait_equal(&agent, |metrics| compare::ends(&records, metrics)).map(drop)
}
