//! Clients that want too much of the agent over TLS: silent ones, half of a handshake, floods of wrong passwords.
//! Scrapes go on whatever they do.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tests::{http, process::raise_file_limit};

use crate::{
    bed::{Bed, TLS},
    curl::{curl, granted},
};

/// The time limit of idle connections in this test.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// Silent clients, some more than there are places for.
const SILENT: usize = 80;

/// A record that announces 512 bytes of a handshake, and its first four (RFC 8446, 5.1).
const HALF_A_HELLO: [u8; 9] = [22, 3, 1, 2, 0, 1, 0, 1, 252];

fn closed(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn silent_and_half_shaken_hands_are_closed_in_time_and_keep_no_scrape_out() -> Result<()> {
    raise_file_limit()?;
    let bed = Bed::new()?;
    let agent = bed.agent(&format!("server.idle_timeout = \"3s\"\nserver.max_connections = 50\n{TLS}"))?;
    let ca = bed.path("ca.crt");
    let opened = Instant::now();
    let mut silent = Vec::with_capacity(SILENT);
    for number in 0..SILENT {
        let mut stream = TcpStream::connect(agent.address()?)
            .with_context(|| format!("connection {number} was refused"))?;
        if number % 2 == 1 {
            stream.write_all(&HALF_A_HELLO)?;
        }
        stream.set_nonblocking(true)?;
        silent.push(stream);
    }
    // All places are held: the one that is idle for longest makes room.
    granted(&["--cacert", &ca, &agent.url])?;
    silent.retain(|stream| !closed(stream));
    ensure!(silent.len() <= 50, "{} of at most 50 connections are open", silent.len());
    let deadline = Instant::now() + IDLE_TIMEOUT * 5;
    while !silent.is_empty() {
        granted(&["--cacert", &ca, &agent.url])?;
        silent.retain(|stream| !closed(stream));
        ensure!(Instant::now() < deadline, "{} silent connections are still open", silent.len());
        thread::sleep(Duration::from_millis(50));
    }
    ensure!(opened.elapsed() >= IDLE_TIMEOUT, "all were closed after {:?}", opened.elapsed());
    Ok(())
}

#[test]
fn a_flood_of_wrong_passwords_keeps_no_known_scraper_out() -> Result<()> {
    let bed = Bed::new()?;
    let agent = bed.agent("access.users_file = \"{}/users\"")?;
    granted(&["--user", "ali:open: sesame", &agent.url])?;
    let address = agent.address()?.parse()?;
    let flood: Vec<_> = (0..30)
        .map(|_| {
            thread::spawn(move || -> Result<Vec<u16>> {
                // "eve:wrong"
                let request = "GET /metrics HTTP/1.0\r\nHost: x\r\nAuthorization: Basic ZXZlOndyb25n\r\n\r\n";
                (0..10).map(|_| Ok(http::request(address, request)?.status)).collect()
            })
        })
        .collect();
    for _ in 0..5 {
        granted(&["--user", "ali:open: sesame", &agent.url])?;
    }
    for one in flood {
        for status in one.join().ok().context("a client panicked")?? {
            ensure!([401, 503].contains(&status), "a stranger got {status}");
        }
    }
    ensure!(curl(&["--user", "ali:wrong", &agent.url])?.status == 401, "afterwards");
    Ok(())
}
