//! The workload: `stream-server` in a cgroup of its own, and clients that hold its streams and drain them.
//! The clients look only now and then, so that nearly all of the machine's time is the server's and the agent's.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    cgroup::Cgroup,
    process::{Background, own_program, raise_file_limit},
};

/// How long the server may take to listen, and to answer all clients.
const OPEN_WITHIN: Duration = Duration::from_secs(20);

/// How often the clients read what came.
const DRAINED_EVERY: Duration = Duration::from_millis(500);

/// What is streamed.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Streams at the same time.
    pub streams: u32,
    /// Chunks of each.
    pub chunks: u32,
    /// Between two chunks of a stream; whole milliseconds.
    pub interval: Duration,
}

impl Rate {
    /// Chunks of all streams.
    pub fn total(self) -> u64 {
        u64::from(self.streams) * u64::from(self.chunks)
    }

    /// From the first chunk to the last.
    pub fn duration(self) -> Duration {
        self.interval * self.chunks
    }
}

/// The server before any client has come. It is killed when this is dropped.
pub struct StreamLoad {
    address: SocketAddr,
    process: Background,
    rate: Rate,
}

/// Streams that have their heads and are about to begin.
pub struct Streams {
    load: StreamLoad,
    stop: Arc<AtomicBool>,
    clients: JoinHandle<Result<()>>,
}

impl StreamLoad {
    /// Starts the server in `cgroup`.
    pub fn start(cgroup: &Cgroup, rate: Rate) -> Result<Self> {
        raise_file_limit()?;
        let program = own_program("stream-server")?;
        let mut process = Background::start(
            cgroup
                .command(program)
                .args(["--streams", &rate.streams.to_string()])
                .args(["--chunks", &rate.chunks.to_string()])
                .args(["--interval", &rate.interval.as_millis().to_string()]),
        )?;
        let port =
            process.wait_for("port", OPEN_WITHIN, |line| line.strip_prefix("listening ")?.parse().ok())?;
        Ok(Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), process, rate })
    }

    /// Opens all streams; the first chunk comes a second later.
    pub fn open(mut self) -> Result<Streams> {
        let clients: Result<Vec<TcpStream>> = (0..self.rate.streams).map(|_| self.client()).collect();
        let clients = clients?;
        self.process.wait_for("head for each client", OPEN_WITHIN, |line| (line == "open").then_some(()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let clients = thread::spawn({
            let stop = Arc::clone(&stop);
            move || drain(clients, &stop)
        });
        Ok(Streams { load: self, stop, clients })
    }

    fn client(&self) -> Result<TcpStream> {
        let mut client = TcpStream::connect(self.address).context("cannot open a connection")?;
        client.write_all(b"GET /sse/bench HTTP/1.1\r\nHost: localhost\r\n\r\n").context("cannot ask")?;
        client.set_nonblocking(true).context("cannot set a socket to not wait")?;
        Ok(client)
    }
}

impl Streams {
    /// Waits for the last chunk.
    pub fn wait_done(&mut self) -> Result<()> {
        let limit = self.load.rate.duration() + OPEN_WITHIN;
        let written = |line: &str| line.strip_prefix("done ")?.parse::<u64>().ok();
        let written = self.load.process.wait_for("end of its streams", limit, written)?;
        ensure!(written == self.load.rate.total(), "{written} chunks were written, not {:?}", self.load.rate);
        Ok(())
    }

    /// Closes the clients.
    pub fn close(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.clients.join() {
            Ok(result) => result,
            Err(_) => bail!("the clients panicked"),
        }
    }
}

/// Reads whatever has come, again and again until it is told to stop; then the connections close with nothing unread.
fn drain(mut clients: Vec<TcpStream>, stop: &AtomicBool) -> Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let last = stop.load(Ordering::Relaxed);
        for client in &mut clients {
            match client.read(&mut buffer) {
                Ok(0) => bail!("the server closed a stream"),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("cannot read a stream"),
            }
        }
        if last {
            return Ok(());
        }
        thread::sleep(DRAINED_EVERY);
    }
}
