//! Reads records from the ring and hands on what they say.
//! A record that this agent does not know is counted, never guessed at.

use std::path::PathBuf;

use anyhow::Context as _;
use aya::maps::{Map, MapData, RingBuf};
use observer_ebpf::records::cgroup::{CGROUP_CREATED, CGROUP_REMOVED, CgroupRecord, PATH_BYTES};
use tokio::{io::unix::AsyncFd, sync::mpsc};

use super::{
    records::{Read, Records},
    sys,
};
use crate::targets::CgroupEvent;

/// The agent's end of the ring.
pub struct RingReader {
    ring: RingBuf<MapData>,
    records: Records,
}

impl RingReader {
    pub(super) fn new(map: Map) -> anyhow::Result<Self> {
        Ok(Self { ring: RingBuf::try_from(map)?, records: Records::default() })
    }

    /// The counts of records, which live on.
    pub fn records(&self) -> Records {
        self.records.clone()
    }

    /// Reads until whoever listens is gone. A listener that lags is told that it missed something.
    pub async fn run(self, events: mpsc::Sender<CgroupEvent>) -> anyhow::Result<()> {
        let Self { ring, records } = self;
        // SAFETY: the ring's map keeps its descriptor open, and one and the same, for as long as the ring lives.
        let ring = unsafe { AsyncFd::register(ring) };
        let mut ring = ring.context("cannot wait for the ring")?;
        let mut missed = false;
        while !events.is_closed() {
            let mut ready = tokio::select! {
                ready = ring.readable_mut() => ready.context("cannot wait for the ring")?,
                () = events.closed() => return Ok(()),
            };
            while let Some(record) = ready.get_inner_mut().next() {
                let event = decode(&record);
                records.add(if event.is_some() { Read::Cgroup } else { Read::Unparsed }, 1);
                if let Some(event) = event {
                    missed |= events.try_send(event).is_err();
                }
            }
            if missed {
                missed = events.try_send(CgroupEvent::Missed).is_err();
            }
            ready.clear_ready();
        }
        Ok(())
    }
}

/// What a record says; `None` for what is none.
pub(super) fn decode(record: &[u8]) -> Option<CgroupEvent> {
    if record.len() != size_of::<CgroupRecord>() {
        return None;
    }
    let record: CgroupRecord = sys::read_pod(record);
    let length = record.path_length as usize;
    if length == 0 || length >= PATH_BYTES - 1 {
        // It was counted as truncated where it was made.
        return Some(CgroupEvent::Missed);
    }
    let path = PathBuf::from(String::from_utf8_lossy(&record.path[..length]).into_owned());
    match record.kind {
        CGROUP_CREATED => Some(CgroupEvent::Created { path, id: record.id }),
        CGROUP_REMOVED => Some(CgroupEvent::Removed { path, id: record.id }),
        _ => None,
    }
}
