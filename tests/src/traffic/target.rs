//! The target in Rust, for guests that have no Node.js: it obeys the commands of `fixtures/server.js`.
//! Each command is a line of JSON that `client` sends; connections that it makes are known by the name that it was given.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_buf, sink},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    time::timeout,
};

use super::keep_alive;

/// What a client orders.
#[derive(Deserialize)]
#[serde(untagged)]
enum Command {
    Dial {
        dial: String,
        host: IpAddr,
        port: u16,
        #[serde(rename = "giveUp")]
        give_up: Option<u64>,
    },
    EndOver {
        over: String,
        end: End,
    },
    Over {
        over: String,
        up: usize,
        down: usize,
    },
    End {
        end: End,
    },
    Exchange {
        up: usize,
        down: usize,
    },
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum End {
    Close,
    Reset,
    PeerClose,
    PeerReset,
}

/// Connections that this target made.
type Dialed = Arc<Mutex<HashMap<String, BufReader<TcpStream>>>>;

/// Serves whoever connects, for as long as the process lives.
pub async fn serve(listener: TcpListener) -> Result<()> {
    let dialed = Dialed::default();
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept")?;
        let dialed = Arc::clone(&dialed);
        // A client that resets its connection is one of the ends that are wanted.
        tokio::spawn(async move { obey(stream, dialed).await.ok() });
    }
}

async fn obey(stream: TcpStream, dialed: Dialed) -> Result<()> {
    prepare(&stream)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let command = serde_json::from_str(&line).with_context(|| format!("not a command: {line}"))?;
        line.clear();
        let answer = match command {
            Command::Exchange { up, down } => {
                skip(&mut stream, up).await?;
                stream.write_all(&vec![b'y'; down]).await?;
                continue;
            }
            Command::End { end } => return finish(stream, end).await,
            Command::Dial { dial, host, port, give_up } => {
                match connect(SocketAddr::new(host, port), give_up).await {
                    Ok(made) => {
                        dialed.lock().await.insert(dial, made);
                        "open"
                    }
                    Err(error) => error,
                }
            }
            Command::Over { over, up, down } => {
                let mut made = dialed.lock().await.remove(&over).context("no such connection")?;
                made.write_all(format!("{}\n", json!({ "up": up, "down": down })).as_bytes()).await?;
                made.write_all(&vec![b'x'; up]).await?;
                skip(&mut made, down).await?;
                dialed.lock().await.insert(over, made);
                "done"
            }
            Command::EndOver { over, end } => {
                let made = dialed.lock().await.remove(&over).context("no such connection")?;
                finish(made, end).await?;
                "done"
            }
        };
        stream.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}

/// Connects; the name of the error as Node.js has it.
async fn connect(
    to: SocketAddr,
    give_up: Option<u64>,
) -> std::result::Result<BufReader<TcpStream>, &'static str> {
    let connecting = TcpStream::connect(to);
    let connected = match give_up {
        Some(limit) => timeout(Duration::from_millis(limit), connecting).await.map_err(|_| "given up")?,
        None => connecting.await,
    };
    let stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => "ECONNREFUSED",
        io::ErrorKind::TimedOut => "ETIMEDOUT",
        io::ErrorKind::HostUnreachable => "EHOSTUNREACH",
        _ => "another error",
    })?;
    prepare(&stream).map_err(|_| "another error")?;
    Ok(BufReader::new(stream))
}

/// Ends a connection, or lets the other side do so, and waits until both are done with it.
async fn finish(mut stream: BufReader<TcpStream>, end: End) -> Result<()> {
    match end {
        End::Close => stream.shutdown().await?,
        End::Reset => return stream.get_mut().set_zero_linger().context("cannot set SO_LINGER"),
        End::PeerClose => stream.write_all(b"{\"end\":\"close\"}\n").await?,
        End::PeerReset => stream.write_all(b"{\"end\":\"reset\"}\n").await?,
    }
    // A reset is an end too.
    copy_buf(&mut stream, &mut sink()).await.ok();
    Ok(())
}

fn prepare(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    keep_alive(stream).context("cannot set SO_KEEPALIVE")
}

async fn skip(stream: &mut BufReader<TcpStream>, count: usize) -> Result<()> {
    let read = copy_buf(&mut stream.take(count as u64), &mut sink()).await?;
    anyhow::ensure!(read == count as u64, "the connection ended after {read} of {count} bytes");
    Ok(())
}
