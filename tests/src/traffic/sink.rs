//! What the target connects to: it answers commands like those of `fixtures/server.js` and counts what it sees.
//! Each connection is one that the target opened.

use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::{client::skip, keep_alive};
use crate::demo::{counted::CountedStream, tally::Ledger};

/// A command of the target.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Command {
    /// So many bytes follow, and so many are the answer.
    Exchange { up: usize, down: usize },
    /// The sink is to end the connection.
    End { end: End },
}

/// How the sink ends a connection.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum End {
    Close,
    Reset,
}

/// Listens on a free port of all addresses, IPv4 and IPv6, for as long as the runtime lives; returns the port.
pub async fn listen(ledger: Arc<Ledger>) -> Result<u16> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let listener = TcpListener::bind(address).await.context("cannot listen")?;
    let port = listener.local_addr().context("cannot read the port")?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                if let Err(error) = serve(stream, ledger).await {
                    eprintln!("sink: {error:#}");
                }
            });
        }
    });
    Ok(port)
}

async fn serve(stream: TcpStream, ledger: Arc<Ledger>) -> Result<()> {
    let mut stream = BufReader::new(CountedStream::new(stream, ledger));
    stream.get_ref().get_ref().set_nodelay(true).context("cannot set TCP_NODELAY")?;
    keep_alive(stream.get_ref().get_ref()).context("cannot set SO_KEEPALIVE")?;
    loop {
        let mut line = String::new();
        // The target's reset is an end as good as its close; the ledger tells them apart.
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return Ok(());
        }
        match serde_json::from_str(&line).with_context(|| format!("not a command: {line}"))? {
            Command::Exchange { up, down } => {
                skip(&mut stream, up).await?;
                stream.get_mut().write_all(&vec![b'y'; down]).await.context("cannot answer")?;
            }
            Command::End { end: End::Close } => return Ok(()),
            Command::End { end: End::Reset } => {
                return stream.get_mut().reset_on_close().context("cannot set SO_LINGER");
            }
        }
    }
}
