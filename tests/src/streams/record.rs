//! What a driver saw of one stream: its times, gaps, bytes, and why it ended.
//! Words and meanings are those of the metric contract, section Streams.

use std::time::{Duration, Instant};

/// The label `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Server-sent events.
    Sse,
    /// A line of JSON per event.
    Ndjson,
    /// Any other body without a known length that takes long.
    Chunked,
    /// A WebSocket.
    WebSocket,
}

impl Kind {
    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::Ndjson => "ndjson",
            Self::Chunked => "chunked",
            Self::WebSocket => "websocket",
        }
    }

    /// Whether `chunk` of such a body, if it is not compressed, holds more than comments, heartbeats and blank lines.
    pub fn is_event(self, chunk: &[u8]) -> bool {
        let mut lines = chunk.split(|byte| matches!(byte, b'\n' | b'\r'));
        match self {
            Self::Sse => lines.any(|line| line.first().is_some_and(|first| *first != b':')),
            Self::Ndjson => lines.any(|line| !line.trim_ascii().is_empty()),
            Self::Chunked | Self::WebSocket => true,
        }
    }
}

/// The label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// By its own end.
    Completed,
    /// The client closed or reset first.
    ClientAbort,
    /// The server closed in the middle.
    ServerAbort,
}

impl Outcome {
    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientAbort => "client_abort",
            Self::ServerAbort => "server_abort",
        }
    }
}

/// Messages in one direction and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Chunks that hold an event; of a WebSocket: messages.
    pub messages: u64,
    /// Bytes without framing, those of heartbeats among them.
    pub bytes: u64,
}

/// One stream that has ended. Times are from just before the request was sent.
#[derive(Clone, Debug)]
pub struct Record {
    /// The number that the request gave it, by which the server's log names it too.
    pub id: u32,
    /// What it was.
    pub kind: Kind,
    /// The label `route`.
    pub route: String,
    /// Three digits.
    pub status: u16,
    /// Why it ended.
    pub outcome: Outcome,
    /// When the response head was read.
    pub headers: Duration,
    /// When the first event was read, if there was one.
    pub first_event: Option<Duration>,
    /// Times between two events.
    pub gaps: Vec<Duration>,
    /// Until the end was read, or made.
    pub duration: Duration,
    /// From the target.
    pub sent: Counted,
    /// To the target; of an HTTP stream the body of its request, which is no message.
    pub received: Counted,
}

/// A stream under way.
#[derive(Debug)]
pub struct Recorder {
    record: Record,
    started: Instant,
    last_event: Option<Instant>,
}

impl Recorder {
    /// The request is about to be sent.
    pub fn start(id: u32, kind: Kind, route: &str) -> Self {
        let record = Record {
            id,
            kind,
            route: route.to_owned(),
            status: 0,
            outcome: Outcome::Completed,
            headers: Duration::ZERO,
            first_event: None,
            gaps: Vec::new(),
            duration: Duration::ZERO,
            sent: Counted::default(),
            received: Counted::default(),
        };
        Self { record, started: Instant::now(), last_event: None }
    }

    /// So many bytes are the request's body.
    pub fn request_body(&mut self, bytes: usize) {
        self.record.received.bytes += bytes as u64;
    }

    /// The response head came.
    pub fn headers(&mut self, status: u16) {
        self.record.status = status;
        self.record.headers = self.started.elapsed();
    }

    /// An event of so many bytes came.
    pub fn event(&mut self, bytes: usize) {
        let now = Instant::now();
        self.record.sent.messages += 1;
        self.record.sent.bytes += bytes as u64;
        match self.last_event.replace(now) {
            Some(before) => self.record.gaps.push(now - before),
            None => self.record.first_event = Some(now - self.started),
        }
    }

    /// Bytes that are no event came.
    pub fn heartbeat(&mut self, bytes: usize) {
        self.record.sent.bytes += bytes as u64;
    }

    /// A message of so many bytes goes to the target.
    pub fn received(&mut self, bytes: usize) {
        self.record.received.messages += 1;
        self.record.received.bytes += bytes as u64;
    }

    /// It ended just now.
    pub fn end(self, outcome: Outcome) -> Record {
        Record { outcome, duration: self.started.elapsed(), ..self.record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_no_events() {
        for (kind, chunk, event) in [
            (Kind::Sse, &b":\n\n"[..], false),
            (Kind::Sse, b": alive\r\n\r\n", false),
            (Kind::Sse, b":\n\ndata: x\n\n", true),
            (Kind::Ndjson, b"\n", false),
            (Kind::Ndjson, b"{}\n", true),
            (Kind::Chunked, b"\n", true),
        ] {
            assert_eq!(kind.is_event(chunk), event, "{kind:?} {}", String::from_utf8_lossy(chunk));
        }
    }

    #[test]
    fn a_heartbeat_ends_no_gap() {
        let mut recorder = Recorder::start(1, Kind::Sse, "/sse");
        recorder.headers(200);
        recorder.heartbeat(3);
        recorder.event(10);
        recorder.heartbeat(3);
        recorder.event(10);
        let record = recorder.end(Outcome::Completed);
        assert_eq!((record.sent, record.gaps.len()), (Counted { messages: 2, bytes: 26 }, 1));
        assert!(record.first_event.is_some_and(|first| first <= record.duration));
    }
}
