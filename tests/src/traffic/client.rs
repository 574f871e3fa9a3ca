//! One connection to the target, and through it the target's own connections to others.
//! Wire format: a line of JSON per command, see `fixtures/server.js`; nothing is ended before it was answered.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::keep_alive;
use crate::demo::{
    counted::CountedStream,
    tally::{Ledger, Reason},
};

/// A connection to the target.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<CountedStream>,
}

impl Client {
    /// Connects to the target at `address`, counted in `ledger`.
    pub async fn open(address: SocketAddr, ledger: &Arc<Ledger>) -> Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        keep_alive(&stream).context("cannot set SO_KEEPALIVE")?;
        Ok(Self { stream: BufReader::new(CountedStream::new(stream, Arc::clone(ledger))) })
    }

    /// Sends `up` bytes after the command and waits for `down` bytes.
    pub async fn exchange(&mut self, up: usize, down: usize) -> Result<()> {
        self.send(&json!({ "up": up, "down": down }), up).await?;
        skip(&mut self.stream, down).await.context("the target's answer")
    }

    /// Makes the target connect to `to` and give up after `give_up`, if that is given. Returns `open`, `given up` or the
    /// name of the error; the open connection is called `name` from then on.
    pub async fn dial(&mut self, name: &str, to: SocketAddr, give_up: Option<Duration>) -> Result<String> {
        let give_up = give_up.map(|give_up| u64::try_from(give_up.as_millis()).unwrap_or(u64::MAX));
        let command =
            json!({ "dial": name, "host": to.ip().to_string(), "port": to.port(), "giveUp": give_up });
        self.ask(&command).await
    }

    /// Makes the target send `up` bytes after a command over its connection `name` and receive `down` bytes.
    pub async fn over(&mut self, name: &str, up: usize, down: usize) -> Result<()> {
        self.done(&json!({ "over": name, "up": up, "down": down })).await
    }

    /// Ends the target's connection `name`.
    pub async fn end_dialed(&mut self, name: &str, reason: Reason) -> Result<()> {
        let end = match reason {
            Reason::LocalClose => "close",
            Reason::LocalReset => "reset",
            Reason::PeerClose => "peer_close",
            Reason::PeerReset => "peer_reset",
        };
        self.done(&json!({ "over": name, "end": end })).await
    }

    /// Ends this connection; `reason` is in the words of the target.
    pub async fn end(mut self, reason: Reason) -> Result<()> {
        let end = match reason {
            Reason::PeerClose => return Ok(()),
            Reason::PeerReset => {
                return self.stream.get_mut().reset_on_close().context("cannot set SO_LINGER");
            }
            Reason::LocalClose => "close",
            Reason::LocalReset => "reset",
        };
        self.send(&json!({ "end": end }), 0).await?;
        self.ended_by_target().await
    }

    /// Waits until the target ends this connection, in whatever way.
    pub async fn ended_by_target(mut self) -> Result<()> {
        match self.stream.read_u8().await {
            Ok(byte) => bail!("the target sent {byte} instead of ending the connection"),
            // That it was reset, or closed, is in the ledger.
            Err(_) => Ok(()),
        }
    }

    async fn done(&mut self, command: &Value) -> Result<()> {
        let answer = self.ask(command).await?;
        if answer != "done" {
            bail!("the target answered `{answer}` to {command}");
        }
        Ok(())
    }

    /// Sends a command that is answered by a line.
    async fn ask(&mut self, command: &Value) -> Result<String> {
        self.send(command, 0).await?;
        let mut line = String::new();
        self.stream
            .read_line(&mut line)
            .await
            .with_context(|| format!("the target's answer to {command}"))?;
        if line.pop() != Some('\n') {
            bail!("the target closed instead of answering {command}");
        }
        Ok(line)
    }

    async fn send(&mut self, command: &Value, payload: usize) -> Result<()> {
        let mut bytes = command.to_string().into_bytes();
        bytes.push(b'\n');
        bytes.resize(bytes.len() + payload, b'x');
        let sent = self.stream.get_mut().write_all(&bytes).await;
        sent.with_context(|| format!("cannot send {command}"))
    }
}

/// Reads and forgets exactly `count` bytes.
pub(super) async fn skip(stream: &mut BufReader<CountedStream>, count: usize) -> Result<()> {
    let mut rest = stream.take(count as u64);
    let read = tokio::io::copy_buf(&mut rest, &mut tokio::io::sink()).await?;
    if read != count as u64 {
        bail!("the connection ended after {read} of {count} bytes");
    }
    Ok(())
}
