//! One blocking HTTP request, for tests that ask the agent something.
//! HTTP/1.0, so that the answer is plain bytes up to the end of the connection.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Three digits.
    pub status: u16,
    /// Status line and header lines as they came.
    pub head: String,
    /// The body's bytes.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// GET of `path`.
pub fn get(address: SocketAddr, path: &str) -> Result<Response> {
    request(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"))
        .with_context(|| format!("GET http://{address}{path}"))
}

/// Sends `request` as it is and reads the answer to the connection's end.
pub fn request(address: SocketAddr, request: &str) -> Result<Response> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).context("cannot connect")?;
    stream.set_read_timeout(Some(TIMEOUT)).context("cannot set a time limit")?;
    stream.write_all(request.as_bytes()).context("cannot send")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("cannot read the answer")?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> Result<Response> {
    let split = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("the answer has no end of head")?;
    let (head, body) = answer.split_at(split);
    let head = String::from_utf8_lossy(head).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .with_context(|| format!("no status in: {head}"))?;
    let body = body.strip_prefix(b"\r\n\r\n").unwrap_or(body).to_vec();
    Ok(Response { status, head, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_into_status_head_and_body() {
        let response = parse(b"HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\nnot \r\n\r\nyet").unwrap();
        assert_eq!(response.status, 503);
        assert_eq!(response.head, "HTTP/1.0 503 Service Unavailable\r\nA: b");
        assert_eq!(response.text(), "not \r\n\r\nyet");
        assert!(parse(b"HTTP/1.0 200 OK\r\n").is_err());
    }
}
