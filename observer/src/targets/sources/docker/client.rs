//! Requests to a Docker API on its unix socket, with bounds: in time, and in the bytes of an answer and of a line.
//! The other end is trusted and may still be a proxy that is broken; what it sends is never kept without a limit.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Collected, Empty, Limited};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, task::JoinSet, time::timeout};

/// How long an answer may take. Listing a thousand containers takes well under a second.
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes of an answer. A container's entry in a list has one or two thousand.
const MOST_BYTES: usize = 16 << 20;
/// Bytes of one event.
const MOST_OF_LINE: usize = 256 << 10;
/// Bytes of a head.
const MOST_OF_HEAD: usize = 64 << 10;

/// An answer whose body is still to be read.
struct Answer {
    response: Response<Incoming>,
    /// Reads and writes for as long as the body is wanted.
    connection: JoinSet<hyper::Result<()>>,
}

/// Lines that come while something happens.
pub(super) struct Lines {
    answer: Answer,
    /// What has come and was not taken; the first line of it may not be whole.
    rest: Vec<u8>,
}

async fn ask(socket: &Path, path: &str) -> anyhow::Result<Answer> {
    let stream = UnixStream::connect(socket).await.context("cannot connect")?;
    let mut builder = http1::Builder::new();
    let (mut sender, running) = builder.max_buf_size(MOST_OF_HEAD).handshake(TokioIo::new(stream)).await?;
    let mut connection = JoinSet::new();
    connection.spawn(running);
    let request = Request::get(path).header("host", "docker").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        bail!("{path} was answered with {}", response.status());
    }
    Ok(Answer { response, connection })
}

/// The whole body of an answer.
pub(super) async fn get(socket: &Path, path: &str) -> anyhow::Result<Bytes> {
    let whole = async {
        let answer = ask(socket, path).await?;
        let body = Limited::new(answer.response.into_body(), MOST_BYTES).collect().await;
        drop(answer.connection);
        // The limit's own error does not say which.
        body.map(Collected::to_bytes).map_err(|error| anyhow::anyhow!("the answer to {path}: {error}"))
    };
    timeout(ANSWER, whole).await.with_context(|| format!("{path} was not answered within {ANSWER:?}"))?
}

/// The lines of an answer that has no end.
pub(super) async fn lines(socket: &Path, path: &str) -> anyhow::Result<Lines> {
    let answer = timeout(ANSWER, ask(socket, path)).await;
    let answer = answer.with_context(|| format!("{path} was not answered within {ANSWER:?}"))??;
    Ok(Lines { answer, rest: Vec::new() })
}

impl Lines {
    /// The next line; `None` at the end. May be dropped and called again.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let rest = self.rest.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.rest, rest)));
            }
            if self.rest.len() > MOST_OF_LINE {
                bail!("a line has more than {MOST_OF_LINE} bytes");
            }
            let Some(frame) = self.answer.response.body_mut().frame().await else { return Ok(None) };
            if let Ok(bytes) = frame?.into_data() {
                self.rest.extend_from_slice(&bytes);
            }
        }
    }
}

/// A value inside of a query.
pub(super) fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
