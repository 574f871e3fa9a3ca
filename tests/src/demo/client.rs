//! A small HTTP/1.1 client that leaves every decision about its connection to the caller.
//! A library's pool would close and reuse as it likes; here who closes, when and how is the point.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{counted::CountedStream, tally::Ledger};

/// How the body of an answer is delimited (RFC 9112, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

/// Status and framing of an answer whose body is still to be read.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Three digits.
    pub status: u16,
    framing: Framing,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<CountedStream>,
    host: SocketAddr,
    /// Of a stream of events: what came and is no whole event yet.
    events: Vec<u8>,
}

impl Connection {
    /// Connects to `host`, counted in `ledger`.
    pub async fn open(host: SocketAddr, ledger: &Arc<Ledger>) -> Result<Self> {
        let stream = TcpStream::connect(host).await.with_context(|| format!("cannot connect to {host}"))?;
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        let stream = BufReader::new(CountedStream::new(stream, Arc::clone(ledger)));
        Ok(Self { stream, host, events: Vec::new() })
    }

    /// Makes the close of this connection a reset.
    pub fn reset_on_close(&mut self) -> Result<()> {
        self.stream.get_mut().reset_on_close().context("cannot set SO_LINGER")
    }

    /// Sends a request; `headers` are whole lines without their ends.
    pub async fn send(&mut self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Result<()> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        if !body.is_empty() {
            request += "Content-Length: ";
            request += &body.len().to_string();
            request += "\r\n";
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.get_mut().write_all(&bytes).await.with_context(|| format!("cannot send {method} {path}"))
    }

    /// Reads the head of an answer.
    pub async fn head(&mut self) -> Result<Head> {
        let line = self.line().await?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("not a status line: {line}"))?;
        let mut framing = Framing::Length(0);
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            let Some((name, value)) = line.split_once(':') else {
                return Ok(Head { status, framing });
            };
            match (name, value.trim()) {
                ("transfer-encoding", "chunked") => framing = Framing::Chunked,
                ("content-length", length) => {
                    framing = Framing::Length(length.parse().context("bad length")?);
                }
                _ => {}
            }
        }
    }

    /// Reads the whole body of an answer.
    pub async fn body(&mut self, head: Head) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        match head.framing {
            Framing::Length(length) => {
                body.resize(length, 0);
                self.stream.read_exact(&mut body).await.context("the body ended early")?;
            }
            Framing::Chunked => {
                while let Some(chunk) = self.chunk().await? {
                    body.extend_from_slice(&chunk);
                }
            }
        }
        Ok(body)
    }

    /// Sends a request and reads an answer that must be 200.
    pub async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Result<Vec<u8>> {
        self.send(method, path, headers, body).await?;
        let head = self.head().await?;
        let body = self.body(head).await?;
        if head.status != 200 {
            bail!("{method} {path} answered {}: {}", head.status, String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    /// The data of the next server-sent event of a chunked answer; `None` at its end. Only whole chunks are taken
    /// from the connection, so after an event nothing of its chunk is left unread.
    pub async fn event(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.events.windows(2).position(|window| window == b"\n\n") {
                let event: Vec<u8> = self.events.drain(..end + 2).collect();
                let event = String::from_utf8(event).context("an event is not UTF-8")?;
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                return Ok(Some(data.unwrap_or_default().to_owned()));
            }
            let Some(chunk) = self.chunk().await? else {
                return Ok(None);
            };
            self.events.extend_from_slice(&chunk);
        }
    }

    /// Waits until the other side closes, having sent nothing more; then closes too.
    pub async fn closed_by_other_side(mut self) -> Result<()> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.context("waiting for the other side's close")?;
        if !rest.is_empty() {
            bail!("{} bytes came after the answer", rest.len());
        }
        Ok(())
    }

    /// The bare stream, for another protocol; nothing may be unread in the buffer.
    pub fn into_stream(self) -> Result<CountedStream> {
        if !self.stream.buffer().is_empty() {
            bail!("{} bytes came before the protocol changed", self.stream.buffer().len());
        }
        Ok(self.stream.into_inner())
    }

    /// Sends FIN and goes on reading.
    pub async fn shut_down(&mut self) -> Result<()> {
        self.stream.get_mut().shutdown().await.context("cannot shut down")
    }

    /// The next chunk of a chunked body, taken from the connection with the line ends around it; `None` after the last.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let size = self.line().await?;
        let length = usize::from_str_radix(&size, 16).with_context(|| format!("not a chunk size: {size}"))?;
        let mut chunk = vec![0; length];
        self.stream.read_exact(&mut chunk).await.context("a chunk ended early")?;
        self.line().await?;
        Ok((length > 0).then_some(chunk))
    }

    /// A line without its end.
    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).await.context("reading a line")?;
        if read == 0 {
            bail!("the other side closed in the middle of an answer");
        }
        Ok(line.trim_end().to_owned())
    }
}
