//! A server that streams at a high, even rate, for the benchmark: small chunks of server-sent events to many clients.
//! It says `listening PORT`, `open` once every client has its response head, and `done CHUNKS` after the last chunk.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use tests::process::raise_file_limit;

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
/// As long as a token in OpenAI's format with its names shortened.
const CHUNK: &[u8] = b"2d\r\ndata: {\"choices\":[{\"delta\":{\"t\":\"word \"}}]}\n\n\r\n";
const END: &[u8] = b"0\r\n\r\n";

/// One writes some 100,000 chunks a second at most, with nothing else to do.
const THREADS: usize = 2;

/// Less is not worth a sleep.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// How far behind its times the server may fall before its rate means nothing.
const LATEST: Duration = Duration::from_secs(1);

/// A server of even streams.
#[derive(Parser)]
struct Arguments {
    /// Clients to wait for; each gets one stream.
    #[arg(long)]
    streams: u32,
    /// Chunks of each stream.
    #[arg(long)]
    chunks: u32,
    /// Milliseconds between two chunks of a stream.
    #[arg(long)]
    interval: u64,
    /// Milliseconds between `open` and the first chunk.
    #[arg(long, default_value_t = 1000)]
    rest: u64,
}

fn main() -> ExitCode {
    match serve(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<()> {
    raise_file_limit()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    println!("listening {}", listener.local_addr().context("no local address")?.port());
    let clients: Result<Vec<TcpStream>> = (0..arguments.streams).map(|_| accept(&listener)).collect();
    let mut clients = clients?;
    println!("open");
    thread::sleep(Duration::from_millis(arguments.rest));
    let begun = Instant::now();
    let share = clients.len().div_ceil(THREADS).max(1);
    thread::scope(|scope| {
        let stream = |clients| scope.spawn(move || stream(clients, begun, arguments));
        let threads: Vec<_> = clients.chunks_mut(share).map(stream).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    for client in &mut clients {
        client.write_all(END).context("cannot end a stream")?;
    }
    println!("done {}", u64::from(arguments.streams) * u64::from(arguments.chunks));
    // The clients close; a server that ended first would show other ends.
    for client in &mut clients {
        client.set_nonblocking(false).context("cannot wait for a client")?;
        client.read_to_end(&mut Vec::new()).context("cannot wait for a client")?;
    }
    Ok(())
}

/// Sends the chunks of `clients`, spread over the interval as those of independent streams are.
fn stream(clients: &mut [TcpStream], begun: Instant, arguments: &Arguments) -> Result<()> {
    let interval = Duration::from_millis(arguments.interval);
    let streams = u32::try_from(clients.len()).context("too many clients")?;
    for round in 0..arguments.chunks {
        for (client, number) in clients.iter_mut().zip(0..) {
            let due = begun + interval * round + interval * number / streams;
            let now = Instant::now();
            if due > now + SHORTEST_SLEEP {
                thread::sleep(due - now);
            }
            ensure!(
                now < due + LATEST,
                "this machine is too slow for the rate: {LATEST:?} late in round {round}"
            );
            client.write_all(CHUNK).context("a client does not keep up")?;
        }
    }
    Ok(())
}

/// Takes the next client's request, whatever it asks for, and sends the response head.
fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let (mut client, _) = listener.accept().context("cannot accept")?;
    client.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    let (mut head, mut length) = ([0; 1024], 0);
    while !head[..length].ends_with(b"\r\n\r\n") {
        let read = client.read(&mut head[length..]).context("cannot read a request")?;
        ensure!(read > 0, "no whole request came");
        length += read;
    }
    client.write_all(HEAD).context("cannot answer")?;
    client.set_nonblocking(true).context("cannot set a socket to not wait")?;
    Ok(client)
}
