//! The end of connections that is the target's: a process in its cgroup that plays what a test orders, many at once.
//! Each order comes on a connection of its own to a socket in the file system, which any network namespace reaches.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::net::{
    AddressFamily, Protocol, SendFlags, SocketType, bind, connect, connect_unspec, ipproto, listen, sendto,
    socket,
    sockopt::{self, Timeout},
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{
    http::dialog::{Act, Deed, Dialog, Side},
    process::{Background, own_program, raise_file_limit},
};

/// How long a test waits for what it has ordered.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the process may take to take orders.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// `MSG_FASTOPEN`, include/linux/socket.h.
const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);

/// How a connection is made.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub enum Manner {
    /// As always.
    #[default]
    Usual,
    /// As one of several paths (RFC 8684).
    Multipath,
    /// What the client says first is in its SYN (RFC 7413).
    FastOpen,
}

/// What is to be done.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Order {
    /// Listen on a port of this address and play the server of each dialog, on the connections in the order in which they come.
    Serve(SocketAddr, Manner, Vec<Dialog>),
    /// Connect and play the client.
    Call(SocketAddr, Manner, Dialog),
    /// Connect one socket to one after another, and play the client on each; between them it is disconnected.
    Reconnect(Vec<SocketAddr>, Dialog),
    /// Listen on a port of this address and accept so many connections; say a byte on each when so many have come on it,
    /// and keep all until the order is taken back.
    Keep(SocketAddr, usize, usize),
    /// Listen on a port of this address, accept so many connections and close each at once.
    Shut(SocketAddr, usize),
    /// Connect so often and close each at once.
    Knock(SocketAddr, usize),
}

/// A socket that connects.
fn connecting(address: SocketAddr, manner: Manner) -> Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let protocol: Option<Protocol> = (manner == Manner::Multipath).then_some(ipproto::MPTCP);
    let made = socket(family, SocketType::STREAM, protocol);
    made.with_context(|| format!("cannot make a socket ({manner:?})"))
}

/// Connects and plays the client.
pub fn call(address: SocketAddr, manner: Manner, dialog: &Dialog) -> Result<()> {
    let own = connecting(address, manner)?;
    if manner != Manner::FastOpen {
        connect(&own, &address).with_context(|| format!("cannot connect to {address}"))?;
        return dialog.play(TcpStream::from(own), Side::Client);
    }
    let Some((Act(Side::Client, Deed::Say(first)), rest)) = dialog.acts().split_first() else {
        bail!("the client says nothing first");
    };
    let sent = sendto(&own, first, FAST_OPEN, &address).context("cannot send with the SYN")?;
    ensure!(sent == first.len(), "only {sent} of {} bytes went", first.len());
    let rest = rest.iter().fold(Dialog::default(), |rest, Act(side, deed)| rest.act(*side, deed.clone()));
    rest.play(TcpStream::from(own), Side::Client)
}

/// A listener on a free port of `address`.
pub fn listening(address: SocketAddr, manner: Manner) -> Result<TcpListener> {
    let own = connecting(address, manner)?;
    sockopt::set_socket_reuseaddr(&own, true).context("cannot set SO_REUSEADDR")?;
    bind(&own, &address).with_context(|| format!("cannot bind to {address}"))?;
    listen(&own, BACKLOG).with_context(|| format!("cannot listen on {address}"))?;
    // Of `accept` too (`man 7 socket`).
    sockopt::set_socket_timeout(&own, Timeout::Recv, Some(PATIENCE)).context("cannot set a time limit")?;
    Ok(TcpListener::from(own))
}

/// Plays the servers of these dialogs, on the connections in the order in which they come.
pub fn serve(listener: &TcpListener, dialogs: &[Dialog]) -> Result<()> {
    thread::scope(|scope| {
        let mut playing = Vec::new();
        for dialog in dialogs {
            let (stream, _) = listener.accept().context("cannot accept")?;
            playing.push(scope.spawn(move || dialog.play(stream, Side::Server)));
        }
        for thread in playing {
            thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(())
    })
}

/// So many connections, one after another.
fn keep(listener: &TcpListener, count: usize, bytes: usize) -> Result<Vec<TcpStream>> {
    let accept = |_| -> Result<TcpStream> {
        let (mut stream, _) = listener.accept().context("cannot accept")?;
        stream.read_exact(&mut vec![0; bytes]).context("cannot read")?;
        stream.write_all(b"k").context("cannot answer")?;
        Ok(stream)
    };
    (0..count).map(accept).collect()
}

/// One socket, connected to one after another.
fn reconnect(addresses: &[SocketAddr], dialog: &Dialog) -> Result<()> {
    let first = addresses.first().context("there is nothing to connect to")?;
    let own = connecting(*first, Manner::Usual)?;
    for (number, address) in addresses.iter().enumerate() {
        if number > 0 {
            connect_unspec(&own).context("cannot disconnect")?;
        }
        connect(&own, address).with_context(|| format!("cannot connect to {address} as number {number}"))?;
        let same = own.try_clone().context("cannot duplicate a socket")?;
        dialog.play(TcpStream::from(same), Side::Client).with_context(|| format!("connection {number}"))?;
    }
    Ok(())
}

/// The process.
pub struct Actor {
    _process: Background,
    socket: PathBuf,
    _folder: TempDir,
}

/// An order that is being carried out.
#[derive(Debug)]
pub struct Ordered(BufReader<UnixStream>);

impl Actor {
    /// Starts one with the command that `command` makes of a program.
    pub fn start(command: impl FnOnce(&Path) -> Command) -> Result<Self> {
        let folder = TempDir::new().context("cannot make a folder")?;
        let socket = folder.path().join("orders");
        let own = own_program("corner-actor")?;
        // An emulated machine has one program for everything.
        let mut command = if own.exists() {
            command(&own)
        } else {
            let mut command = command(&own_program("guest")?);
            command.arg("act");
            command
        };
        let mut process = Background::start(command.arg(&socket))?;
        process.wait_for("readiness", READY_WITHIN, |line| (line == "ready").then_some(()))?;
        Ok(Self { _process: process, socket, _folder: folder })
    }

    /// Orders something.
    pub fn order(&self, order: &Order) -> Result<Ordered> {
        let mut stream = UnixStream::connect(&self.socket).context("the actor takes no order")?;
        stream.set_read_timeout(Some(PATIENCE)).context("cannot set a time limit")?;
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        stream.write_all(&line).context("the actor takes no order")?;
        Ok(Ordered(BufReader::new(stream)))
    }
}

impl Ordered {
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).context("the actor gives no answer")?;
        match line.trim_end_matches('\n').split_once(' ') {
            Some(("done", result)) => Ok(result.to_owned()),
            _ => bail!("the actor: {line}"),
        }
    }

    /// Where it listens.
    pub fn address(&mut self) -> Result<SocketAddr> {
        self.line()?.parse().context("the actor gave no address")
    }

    /// Waits until all connections are there that are to be kept; they are kept as long as this is.
    pub fn kept(&mut self) -> Result<()> {
        self.line().map(drop)
    }

    /// Waits until it is carried out.
    pub fn wait(mut self) -> Result<()> {
        self.line().map(drop)
    }
}

/// The process's own side: carries out orders that come to this socket, for as long as it lives.
pub fn obey(socket: &Path) -> Result<()> {
    raise_file_limit()?;
    let listener = UnixListener::bind(socket).with_context(|| format!("cannot bind {}", socket.display()))?;
    println!("ready");
    for stream in listener.incoming() {
        let stream = stream.context("cannot accept an order")?;
        // A test that has gone is told nothing.
        thread::spawn(move || drop(answer(stream)));
    }
    Ok(())
}

fn answer(stream: UnixStream) -> Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut line)?;
    let mut answers = stream;
    match carry_out(&line, &mut answers) {
        Ok(()) => writeln!(answers, "done ")?,
        Err(error) => writeln!(answers, "failed {error:#}")?,
    }
    Ok(())
}

fn carry_out(line: &str, answers: &mut UnixStream) -> Result<()> {
    let mut listen = |address, manner| -> Result<TcpListener> {
        let listener = listening(address, manner)?;
        writeln!(answers, "done {}", listener.local_addr()?)?;
        Ok(listener)
    };
    match serde_json::from_str(line).context("not an order")? {
        Order::Serve(address, manner, dialogs) => serve(&listen(address, manner)?, &dialogs),
        Order::Call(address, manner, dialog) => call(address, manner, &dialog),
        Order::Reconnect(addresses, dialog) => reconnect(&addresses, &dialog),
        Order::Keep(address, count, bytes) => {
            let listener = listen(address, Manner::Usual)?;
            let kept = keep(&listener, count, bytes)?;
            writeln!(answers, "done ")?;
            // The end of the order's connection.
            answers.read_to_end(&mut Vec::new())?;
            // The listener last: by it is told which end accepted.
            drop((kept, listener));
            Ok(())
        }
        Order::Shut(address, count) => {
            let listener = listen(address, Manner::Usual)?;
            (0..count).try_for_each(|_| listener.accept().map(drop)).context("cannot accept")
        }
        Order::Knock(address, count) => {
            (0..count).try_for_each(|_| TcpStream::connect(address).map(drop)).context("cannot connect")
        }
    }
}
