//! A client of one connection that reads each answer to its last byte, and the time at which it had it.
//! Framing: RFC 9112 sections 6 and 7. It asks only for what its server is to answer well, and fails otherwise.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take, on a busy machine that also loses packets.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// Bytes of a chunk of a request.
const CHUNK: usize = 1000;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// Bytes of the body.
    pub body: usize,
    /// Whether the body is sent in chunks.
    pub chunked: bool,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the final response.
    pub status: u16,
    /// Bytes of the body, without its framing.
    pub body: u64,
    /// From before the first byte was sent until the last one was there.
    pub duration: Duration,
    /// Whether this was the connection's last answer.
    pub last: bool,
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    bytes: Vec<u8>,
    line: String,
}

/// How long a response's body is.
enum Length {
    Known(u64),
    Chunked,
    UntilClosed,
}

impl Request {
    /// Head and body as they are sent.
    fn write(&self, bytes: &mut Vec<u8>) {
        let Self { method, target, body, chunked } = self;
        let head = format!("{method} {target} HTTP/1.1\r\nHost: chat.example\r\nAccept: */*\r\n");
        bytes.clear();
        bytes.extend_from_slice(head.as_bytes());
        if *chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            let mut rest = *body;
            while rest > 0 {
                let size = rest.min(CHUNK);
                bytes.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                bytes.resize(bytes.len() + size, b'x');
                bytes.extend_from_slice(b"\r\n");
                rest -= size;
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else if *body > 0 || matches!(*method, "POST" | "PUT" | "PATCH") {
            bytes.extend_from_slice(format!("Content-Length: {body}\r\n\r\n").as_bytes());
            bytes.resize(bytes.len() + body, b'x');
        } else {
            bytes.extend_from_slice(b"\r\n");
        }
    }
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let connecting = timeout(ANSWERED_WITHIN, TcpStream::connect(address)).await;
        let stream = connecting
            .context("no connection in time")?
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        Ok(Self { stream: BufReader::with_capacity(1 << 16, stream), bytes: Vec::new(), line: String::new() })
    }

    /// Sends a request and reads its answer.
    pub async fn exchange(&mut self, request: &Request) -> Result<Answer> {
        let exchange = timeout(ANSWERED_WITHIN, self.ask(request)).await;
        exchange
            .context("no answer in time")
            .flatten()
            .with_context(|| format!("{} {}", request.method, request.target))
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer> {
        request.write(&mut self.bytes);
        let start = Instant::now();
        self.stream.write_all(&self.bytes).await.context("cannot send")?;
        let (status, length, last) = loop {
            let head = self.head().await?;
            if head.0 >= 200 {
                break head;
            }
        };
        let body = match length {
            _ if request.method == "HEAD" || matches!(status, 204 | 304) => 0,
            Length::Known(length) => self.skip(length).await?,
            Length::Chunked => self.skip_chunks().await?,
            Length::UntilClosed => self.skip(u64::MAX).await?,
        };
        Ok(Answer { status, body, duration: start.elapsed(), last })
    }

    /// Status and framing of the next response.
    async fn head(&mut self) -> Result<(u16, Length, bool)> {
        let line = self.line().await?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status: u16 = status.with_context(|| format!("not a status line: {line}"))?;
        let (mut length, mut last) = (Length::UntilClosed, false);
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            let Some((name, value)) = line.split_once(':') else {
                ensure!(line.is_empty(), "not a header: {line}");
                return Ok((status, length, last));
            };
            match (name, value.trim()) {
                ("content-length", value) => length = Length::Known(value.parse().context(line)?),
                ("transfer-encoding", "chunked") => length = Length::Chunked,
                ("connection", "close") => last = true,
                _ => {}
            }
        }
    }

    async fn line(&mut self) -> Result<&str> {
        self.line.clear();
        self.stream.read_line(&mut self.line).await.context("cannot read a line")?;
        self.line.strip_suffix("\r\n").context("the connection ended in an answer")
    }

    /// Reads `count` bytes, or up to the end of the connection where there is no such count; how many they were.
    async fn skip(&mut self, count: u64) -> Result<u64> {
        let mut body = (&mut self.stream).take(count);
        let read = tokio::io::copy_buf(&mut body, &mut tokio::io::sink()).await.context("cannot read")?;
        ensure!(read == count || count == u64::MAX, "the connection ended after {read} of {count} bytes");
        Ok(read)
    }

    async fn skip_chunks(&mut self) -> Result<u64> {
        let mut sum = 0;
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().and_then(|size| u64::from_str_radix(size, 16).ok());
            let Some(size) = size else { bail!("not a chunk's size: {line}") };
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(sum);
            }
            sum += self.skip(size).await?;
            ensure!(self.line().await?.is_empty(), "a chunk has no end");
        }
    }
}
