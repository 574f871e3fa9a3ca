//! Clients that ask one thing again and again, and write down what came back.
//! One that gets no answer in time leaves: the metrics' 499.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::net::sockopt::set_socket_linger;

/// Clients at once.
const CLIENTS: usize = 6;
/// Most requests of each, so that a load ends that nobody stops.
const MOST: usize = 5000;
/// How long an answer is waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);
/// Between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(2);

/// Requests by status.
type Answers = BTreeMap<u16, u64>;

/// A load that runs until it is stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Result<Answers>>>,
}

impl Load {
    /// Starts the clients, each of which sends `request` over a connection of its own.
    pub(crate) fn start(server: SocketAddr, request: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (stop, request) = (Arc::clone(&stop), request.to_owned());
            thread::spawn(move || ask_on(server, &request, &stop))
        };
        Self { clients: (0..CLIENTS).map(client).collect(), stop }
    }

    /// Lets the clients finish; what all of them got.
    pub(crate) fn stop(self) -> Result<Answers> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Answers::new();
        for client in self.clients {
            for (status, count) in client.join().map_err(|_| anyhow!("a client panicked"))?? {
                *all.entry(status).or_default() += count;
            }
        }
        Ok(all)
    }
}

fn ask_on(server: SocketAddr, request: &str, stop: &AtomicBool) -> Result<Answers> {
    let mut answers = Answers::new();
    for _ in 0..MOST {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        *answers.entry(ask(server, request)?).or_default() += 1;
        thread::sleep(PAUSE);
    }
    Ok(answers)
}

/// The status of one exchange: 499 where there was no answer in time, 0 where the server was gone before it.
fn ask(server: SocketAddr, request: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(server).context("cannot connect")?;
    stream.set_read_timeout(Some(ANSWERED_WITHIN))?;
    stream.write_all(request.as_bytes()).context("cannot send")?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
        {
            ensure!(answer.is_empty(), "half an answer");
            // A server that never reads from it any more would not notice a mere close.
            set_socket_linger(&stream, Some(Duration::ZERO))?;
            return Ok(499);
        }
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => return Err(error).context("cannot read"),
    }
    if answer.is_empty() {
        return Ok(0);
    }
    let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    status.and_then(|status| status.parse().ok()).context("no status")
}
