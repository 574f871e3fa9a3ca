//! Reads the ring of HTTP exchanges: woken by the kernel half when a fair part of it is filled, else every second.
//! A scrape reads it too, so that it shows what has ended until then.

use std::{
    os::fd::{AsRawFd, RawFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use aya::maps::{Map, MapData, RingBuf};
use observer_ebpf::records::exchange::{
    EXCHANGE, Exchange, HEAD_BYTES, PATH_BYTES, REQUEST_AHEAD, RequestAhead, STREAM,
};
use tokio::{
    io::unix::AsyncFd,
    time::{self, MissedTickBehavior},
};

use super::{
    records::{Read, Records},
    sys,
};

/// How long records wait at the most while they are few.
const PERIOD: Duration = Duration::from_secs(1);

/// A record of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// An exchange that has ended.
    Exchange(Exchange),
    /// A request whose exchange will follow.
    Ahead(RequestAhead),
}

/// The agent's end of the ring.
pub struct ExchangeRing {
    ring: Mutex<RingBuf<MapData>>,
    descriptor: RawFd,
    records: Records,
}

/// Keeps the ring while its descriptor is waited for.
struct Descriptor(Arc<ExchangeRing>);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.descriptor
    }
}

impl ExchangeRing {
    pub(super) fn new(map: Map, records: Records) -> anyhow::Result<Self> {
        let ring = RingBuf::try_from(map)?;
        let descriptor = ring.as_raw_fd();
        Ok(Self { ring: Mutex::new(ring), descriptor, records })
    }

    /// Calls `visit` with every record that is there, and counts them.
    pub fn drain(&self, mut visit: impl FnMut(&Record)) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut exchanges, mut ahead, mut unparsed) = (0, 0, 0);
        while let Some(bytes) = ring.next() {
            let record = decode(&bytes);
            // The kernel half may use the room again from here on.
            drop(bytes);
            match &record {
                Some(Record::Exchange(_)) => exchanges += 1,
                Some(Record::Ahead(_)) => ahead += 1,
                None => unparsed += 1,
            }
            if let Some(record) = &record {
                visit(record);
            }
        }
        self.records.add(Read::Exchange, exchanges);
        self.records.add(Read::RequestAhead, ahead);
        self.records.add(Read::Unparsed, unparsed);
    }

    /// Calls `drain`, which is to call [`ExchangeRing::drain`], whenever there is enough to read or a second is over.
    pub async fn run(self: Arc<Self>, drain: impl Fn() + Send) -> anyhow::Result<()> {
        // SAFETY: the ring's map keeps its descriptor open, and one and the same, for as long as the ring lives.
        let ring = unsafe { AsyncFd::register(Descriptor(self)) };
        let ring = ring.context("cannot wait for the ring of exchanges")?;
        let mut period = time::interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ready = ring.readable() => {
                    let mut ready = ready.context("cannot wait for the ring of exchanges")?;
                    drain();
                    ready.clear_ready();
                }
                _ = period.tick() => drain(),
            }
        }
    }
}

/// A record out of the bytes that the kernel half wrote; `None` for what is none.
pub(super) fn decode(bytes: &[u8]) -> Option<Record> {
    let kind = u32::from_ne_bytes(*bytes.first_chunk()?);
    let record = match kind {
        EXCHANGE if bytes.len() >= HEAD_BYTES => {
            // What rounding has put behind the path is not read.
            let exchange: Exchange = sys::read_prefix(bytes.get(..HEAD_BYTES + PATH_BYTES).unwrap_or(bytes));
            let complete = HEAD_BYTES + usize::from(exchange.path_length) <= bytes.len();
            complete.then_some(Record::Exchange(exchange))?
        }
        STREAM if bytes.len() == size_of::<Exchange>() => Record::Exchange(sys::read_pod(bytes)),
        REQUEST_AHEAD if bytes.len() == size_of::<RequestAhead>() => Record::Ahead(sys::read_pod(bytes)),
        _ => return None,
    };
    let path_length = match &record {
        Record::Exchange(exchange) => exchange.path_length,
        Record::Ahead(request) => request.path_length,
    };
    (usize::from(path_length) <= PATH_BYTES).then_some(record)
}

#[cfg(test)]
mod tests {
    use observer_ebpf::records::histogram::GAP_BUCKETS;

    use super::*;

    fn bytes_of<T: aya::Pod>(value: &T) -> Vec<u8> {
        // SAFETY: a plain type without padding.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }.to_vec()
    }

    fn exchange(kind: u32, path: &str) -> Exchange {
        let mut exchange: Exchange = sys::read_prefix(&[]);
        (exchange.kind, exchange.target, exchange.status) = (kind, 7, 200);
        exchange.path_length = path.len().try_into().unwrap();
        exchange.path[..path.len()].copy_from_slice(path.as_bytes());
        exchange
    }

    #[test]
    fn an_exchange_ends_with_its_path_rounded_up_or_not() {
        let sent = exchange(EXCHANGE, "/api/chat");
        let bytes = bytes_of(&Exchange { gaps: [9; GAP_BUCKETS], stalls: 9, ..sent });
        for length in [HEAD_BYTES + 9, HEAD_BYTES + 16] {
            let Some(Record::Exchange(read)) = decode(&bytes[..length]) else { panic!("{length}") };
            assert_eq!(read, sent);
        }
        assert_eq!(decode(&bytes[..HEAD_BYTES + 8]), None);
        assert_eq!(decode(&bytes[..HEAD_BYTES - 1]), None);
    }

    #[test]
    fn what_lies_behind_the_path_of_an_exchange_is_not_read() {
        let sent = exchange(EXCHANGE, &"a".repeat(PATH_BYTES));
        let bytes = bytes_of(&Exchange { gaps: [9; GAP_BUCKETS], ..sent });
        assert_eq!(decode(&bytes), Some(Record::Exchange(sent)));
    }

    #[test]
    fn a_stream_and_a_request_ahead_come_whole() {
        let stream = Exchange { gaps: [3; GAP_BUCKETS], stalls: 2, ..exchange(STREAM, "/api") };
        assert_eq!(decode(&bytes_of(&stream)), Some(Record::Exchange(stream)));
        assert_eq!(decode(&bytes_of(&stream)[..HEAD_BYTES + 4]), None);
        let mut request: RequestAhead = sys::read_prefix(&[]);
        (request.kind, request.index, request.path_length) = (REQUEST_AHEAD, 3, 1);
        assert_eq!(decode(&bytes_of(&request)), Some(Record::Ahead(request)));
    }

    #[test]
    fn what_is_no_record_is_none() {
        let too_long = Exchange { path_length: 193, ..exchange(STREAM, "/") };
        assert_eq!(decode(&bytes_of(&too_long)), None);
        assert_eq!(decode(&bytes_of(&exchange(99, "/"))), None);
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[3, 0]), None);
    }
}
