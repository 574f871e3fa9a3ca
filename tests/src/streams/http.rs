//! One stream over HTTP, read chunk by chunk, with every way to end it.
//! The connection is the caller's before and after, for what goes over it besides.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail, ensure};

use super::record::{Kind, Outcome, Record, Recorder};
use crate::demo::{client::Connection, tally::Ledger};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names the stream in both logs.
    pub id: u32,
    /// What the answer is.
    pub kind: Kind,
    /// For example `GET`.
    pub method: &'static str,
    /// With the query.
    pub target: String,
    /// The label `route`.
    pub route: String,
    /// Whole lines without their ends.
    pub headers: Vec<&'static str>,
    /// Sent with its length.
    pub body: Vec<u8>,
    /// The answer is compressed: every chunk is an event.
    pub encoded: bool,
}

impl Request {
    /// Of `fixtures/streams.js`: GET of `path`, which is its route too, with `query` (for example `events=3&first=100`).
    pub fn get(id: u32, kind: Kind, path: &str, query: &str) -> Self {
        Self {
            id,
            kind,
            method: "GET",
            target: format!("{path}?id={id}&{query}"),
            route: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            encoded: query.contains("gzip=1"),
        }
    }
}

/// How a client leaves a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// FIN by `shutdown`; what still comes is read.
    ShutDown,
    /// FIN by `close`, right after an event: nothing is unread, which would make it a reset.
    Close,
    /// RST, by a close without lingering.
    Reset,
}

/// A connection of which nobody else keeps count.
pub async fn connect(address: SocketAddr) -> Result<Connection> {
    Connection::open(address, &Arc::new(Ledger::new(crate::demo::tally::Side::Peer))).await
}

/// A stream whose response head has been read.
#[derive(Debug)]
pub struct HttpStream {
    connection: Connection,
    recorder: Recorder,
    kind: Kind,
    encoded: bool,
    /// The body of a compressed stream as it came.
    body: Vec<u8>,
}

impl HttpStream {
    /// Sends `request`, which must be answered with 200, chunked.
    pub async fn open(mut connection: Connection, request: &Request) -> Result<Self> {
        let Request { id, kind, method, ref target, ref route, ref headers, ref body, encoded } = *request;
        let mut recorder = Recorder::start(id, kind, route);
        recorder.request_body(body.len());
        connection.send(method, target, headers, body).await?;
        let head = connection.head().await.with_context(|| format!("the head of {target}"))?;
        recorder.headers(head.status);
        ensure!(head.status == 200, "{method} {target} answered {}", head.status);
        Ok(Self { connection, recorder, kind, encoded, body: Vec::new() })
    }

    /// Reads the next chunk; false at the end of the body.
    pub async fn next(&mut self) -> Result<bool> {
        let Some(chunk) = self.connection.chunk().await? else {
            return Ok(false);
        };
        if self.encoded {
            self.body.extend_from_slice(&chunk);
        }
        if self.encoded || self.kind.is_event(&chunk) {
            self.recorder.event(chunk.len());
        } else {
            self.recorder.heartbeat(chunk.len());
        }
        Ok(true)
    }

    /// Reads so many chunks.
    pub async fn take(&mut self, chunks: usize) -> Result<()> {
        for number in 0..chunks {
            if !self.next().await? {
                bail!("the stream ended after {number} of {chunks} chunks");
            }
        }
        Ok(())
    }

    /// Reads it to its own end; the connection is free again. Also the body, if it was compressed.
    pub async fn finish(mut self) -> Result<(Record, Connection, Vec<u8>)> {
        while self.next().await? {}
        Ok((self.recorder.end(Outcome::Completed), self.connection, self.body))
    }

    /// Leaves it now.
    pub async fn leave(mut self, how: Leave) -> Result<Record> {
        match how {
            Leave::ShutDown => {
                self.connection.shut_down().await?;
                let record = self.recorder.end(Outcome::ClientAbort);
                // Whether the server ends its body or only the connection is the server's choice.
                while self.connection.chunk().await.is_ok_and(|chunk| chunk.is_some()) {}
                Ok(record)
            }
            Leave::Close => Ok(self.recorder.end(Outcome::ClientAbort)),
            Leave::Reset => {
                self.connection.reset_on_close()?;
                Ok(self.recorder.end(Outcome::ClientAbort))
            }
        }
    }

    /// Reads until the server has gone in the middle.
    pub async fn abandoned(mut self) -> Result<Record> {
        loop {
            match self.next().await {
                Ok(true) => {}
                Ok(false) => bail!("the stream ended properly, although its server was to go"),
                Err(_) => return Ok(self.recorder.end(Outcome::ServerAbort)),
            }
        }
    }
}
