//! `fixtures/streams.js` as a process in a test's cgroup, and the log that it writes of each stream.
//! That log and the drivers' must be equal before anything is said about the agent.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::Deserialize;

use super::record::{Outcome, Record};
use crate::{
    cgroup::Cgroup,
    process::{Background, PATIENCE, wait_until},
};

/// How long Node.js may take to start, on a busy machine.
const LISTENING_WITHIN: Duration = Duration::from_secs(30);

/// What the server says of a stream that has ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Entry {
    /// As the request gave it.
    pub id: u32,
    /// Events written.
    pub events: u64,
    /// Bytes of the body before compression; of a WebSocket: of its messages.
    pub bytes: u64,
    /// Messages of a WebSocket that came.
    #[serde(default)]
    pub received: u64,
    /// Their bytes.
    #[serde(default)]
    pub received_bytes: u64,
    /// `finished`, or `left` where the client was gone first.
    pub end: String,
}

/// A running server; it is killed when this is dropped.
pub struct StreamServer {
    process: Background,
    address: SocketAddr,
}

impl StreamServer {
    /// Starts one in `cgroup` on a free port of loopback.
    pub fn start(cgroup: &Cgroup) -> Result<Self> {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/streams.js");
        let mut process = Background::start(cgroup.command("node").arg(script))?;
        let port = |line: &str| line.strip_prefix("listening on port ")?.parse().ok();
        let port = process.wait_for("port", LISTENING_WITHIN, port)?;
        Ok(Self { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it at once: the kernel closes its connections.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(PATIENCE).map(drop)
    }

    /// Its entries so far, by id.
    pub fn log(&self) -> Result<BTreeMap<u32, Entry>> {
        let output = self.process.output();
        let entries = output.lines().filter_map(|line| line.strip_prefix("log "));
        let entry = |line: &str| serde_json::from_str(line).with_context(|| format!("not an entry: {line}"));
        let mut log = BTreeMap::new();
        for entry in entries.map(entry) {
            let entry: Entry = entry?;
            let id = entry.id;
            ensure!(log.insert(id, entry).is_none(), "the server logged stream {id} twice");
        }
        Ok(log)
    }

    /// Waits until it has logged all of `records`, and checks that both sides saw the same.
    pub fn check(&self, records: &[Record]) -> Result<()> {
        wait_until("the server has logged every stream", PATIENCE, || {
            let log = self.log()?;
            Ok(records.iter().all(|record| log.contains_key(&record.id)))
        })?;
        let log = self.log()?;
        for record in records {
            let entry = log.get(&record.id).context("it was there before")?;
            agree(record, entry).with_context(|| format!("stream {}: {record:?}, {entry:?}", record.id))?;
        }
        Ok(())
    }
}

/// What the server sent, the driver saw; where it left, it may have seen less.
fn agree(record: &Record, entry: &Entry) -> Result<()> {
    if record.outcome != Outcome::Completed {
        ensure!(entry.end == "left", "the server does not know that the client left");
        ensure!(record.sent.messages <= entry.events, "more events came than were sent");
        return Ok(());
    }
    ensure!(entry.end == "finished", "the server did not finish it");
    ensure!((record.sent.messages, record.sent.bytes) == (entry.events, entry.bytes), "other events");
    let received = (record.received.messages, record.received.bytes);
    ensure!(received == (entry.received, entry.received_bytes), "other messages to the server");
    Ok(())
}
