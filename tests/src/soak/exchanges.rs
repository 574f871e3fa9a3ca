//! Clients that make exchanges at an even rate, on connections that are closed and opened again now and then.
//! Each waits for its answer, so the count of answers is the count of exchanges.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

/// Exchanges a second, over all clients.
pub const PER_SECOND: u32 = 5000;

/// Clients, each with a connection.
const CLIENTS: u32 = 4;

/// How often a client wakes up to make what is due.
const STEP: Duration = Duration::from_millis(5);

/// Exchanges on one connection.
const PER_CONNECTION: u64 = 500;

/// How long an answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

const REQUEST: &[u8] = b"GET /soak HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Bytes of an answer of [`crate::bench::server`]: its head and 200 bytes.
const ANSWER_BYTES: usize = 165 + 200;

/// Clients at work.
pub struct Exchanges(Vec<JoinHandle<Result<u64>>>);

impl Exchanges {
    /// Starts them for `duration`.
    pub fn start(server: SocketAddr, duration: Duration) -> Self {
        Self((0..CLIENTS).map(|_| thread::spawn(move || client(server, duration))).collect())
    }

    /// Waits for their end; how many exchanges they made.
    pub fn finish(self) -> Result<u64> {
        let joined =
            self.0.into_iter().map(|client| client.join().map_err(|_| anyhow!("a client panicked"))?);
        joined.sum()
    }
}

/// One client; how many exchanges it made.
fn client(server: SocketAddr, duration: Duration) -> Result<u64> {
    let rate = f64::from(PER_SECOND) / f64::from(CLIENTS);
    let begun = Instant::now();
    let mut made = 0;
    let mut connection = connect(server)?;
    loop {
        let elapsed = begun.elapsed();
        while (made as f64) < rate * elapsed.min(duration).as_secs_f64() {
            if made > 0 && made % PER_CONNECTION == 0 {
                connection = connect(server)?;
            }
            connection.write_all(REQUEST).context("cannot ask")?;
            connection.read_exact(&mut [0; ANSWER_BYTES]).context("no answer")?;
            made += 1;
            if begun.elapsed() >= duration {
                return Ok(made);
            }
        }
        if elapsed >= duration {
            return Ok(made);
        }
        thread::sleep(STEP);
    }
}

fn connect(server: SocketAddr) -> Result<TcpStream> {
    let connection = TcpStream::connect(server).context("cannot connect")?;
    connection.set_read_timeout(Some(ANSWERED_WITHIN)).context("cannot set a time limit")?;
    connection.set_nodelay(true).context("cannot send at once")?;
    Ok(connection)
}
