//! Exchanges of any shape, byte for byte: both ends of a connection play the same list of acts, each its own, and wait
//! for the other's to have come in full. So what passed, and in which order, is known without any server's opinion.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};

/// How long a side waits for the other, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes written or read at once where there are many.
const PIECE: usize = 1 << 16;

/// A side of a connection.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Side {
    /// Which connects.
    Client,
    /// Which accepts.
    Server,
}

/// What a side does.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Deed {
    /// Sends these bytes at once.
    Say(Vec<u8>),
    /// Sends `x` so often.
    Fill(u64),
    /// Ends its direction.
    Close,
    /// Ends the connection at once, with a reset.
    Reset,
    /// Does nothing for so many milliseconds.
    Pause(u64),
}

/// A deed of a side.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Act(pub Side, pub Deed);

/// A list of acts, made one by one.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Dialog(Vec<Act>);

impl Dialog {
    /// The client says this.
    #[must_use]
    pub fn client(self, bytes: impl AsRef<[u8]>) -> Self {
        self.act(Side::Client, Deed::Say(bytes.as_ref().to_vec()))
    }

    /// The server says this.
    #[must_use]
    pub fn server(self, bytes: impl AsRef<[u8]>) -> Self {
        self.act(Side::Server, Deed::Say(bytes.as_ref().to_vec()))
    }

    /// Any act.
    #[must_use]
    pub fn act(mut self, side: Side, deed: Deed) -> Self {
        self.0.push(Act(side, deed));
        self
    }

    /// All acts of `other` after these.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// One side closes, then the other.
    #[must_use]
    pub fn closed_by(self, side: Side) -> Self {
        let other = if side == Side::Client { Side::Server } else { Side::Client };
        self.act(side, Deed::Close).act(other, Deed::Close)
    }

    /// The acts, in their order.
    pub fn acts(&self) -> &[Act] {
        &self.0
    }

    /// Bytes that both sides send.
    pub fn bytes(&self) -> u64 {
        let bytes = |Act(_, deed): &Act| match deed {
            Deed::Say(bytes) => bytes.len() as u64,
            Deed::Fill(count) => *count,
            Deed::Close | Deed::Reset | Deed::Pause(_) => 0,
        };
        self.0.iter().map(bytes).sum()
    }

    /// Plays the client against a server that plays the same.
    pub fn connect(&self, address: SocketAddr) -> Result<()> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).context("cannot connect")?;
        self.play(stream, Side::Client)
    }

    /// Listens on a free port of `address` and plays the server of one connection there, in a thread.
    pub fn listen(self, address: SocketAddr) -> Result<(SocketAddr, JoinHandle<Result<()>>)> {
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr().context("cannot read the port")?;
        let playing = thread::spawn(move || {
            let (stream, _) = listener.accept().context("cannot accept")?;
            self.play(stream, Side::Server)
        });
        Ok((address, playing))
    }

    /// Plays one side on a connection that is open already.
    pub fn play(&self, mut stream: TcpStream, own: Side) -> Result<()> {
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        stream.set_read_timeout(Some(PATIENCE)).context("cannot set a time limit")?;
        stream.set_write_timeout(Some(PATIENCE)).context("cannot set a time limit")?;
        for (number, Act(side, deed)) in self.0.iter().enumerate() {
            if *deed == Deed::Reset && *side == own {
                return reset(stream);
            }
            let done = if *side == own { perform(&mut stream, deed) } else { await_deed(&mut stream, deed) };
            done.with_context(|| format!("{own:?}, act {number} of {side:?}"))?;
        }
        Ok(())
    }
}

fn perform(stream: &mut TcpStream, deed: &Deed) -> Result<()> {
    match deed {
        Deed::Say(bytes) => stream.write_all(bytes).context("cannot send"),
        Deed::Fill(count) => {
            let mut bytes = std::io::repeat(b'x').take(*count);
            std::io::copy(&mut bytes, stream).map(drop).context("cannot send")
        }
        Deed::Close => stream.shutdown(Shutdown::Write).context("cannot close"),
        Deed::Pause(milliseconds) => {
            thread::sleep(Duration::from_millis(*milliseconds));
            Ok(())
        }
        Deed::Reset => Ok(()),
    }
}

/// Closing a socket that is not to linger is a reset (`man 7 socket`, `SO_LINGER`).
fn reset(stream: TcpStream) -> Result<()> {
    sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO)).context("cannot set SO_LINGER")?;
    drop(stream);
    Ok(())
}

/// Reads what the other side does, to its last byte and no further.
fn await_deed(stream: &mut TcpStream, deed: &Deed) -> Result<()> {
    match deed {
        Deed::Say(expected) => {
            let mut bytes = vec![0; expected.len()];
            stream.read_exact(&mut bytes).context("cannot read")?;
            ensure!(bytes == *expected, "what came is not what was to come");
        }
        Deed::Fill(count) => {
            let mut piece = vec![0; PIECE];
            let mut rest = stream.take(*count);
            while rest.limit() > 0 {
                ensure!(
                    rest.read(&mut piece).context("cannot read")? > 0,
                    "{} bytes are missing",
                    rest.limit()
                );
            }
        }
        Deed::Close => {
            let read = stream.read(&mut [0]).context("cannot read")?;
            ensure!(read == 0, "bytes came after the last ones");
        }
        Deed::Reset => match stream.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => bail!("instead of a reset came {other:?}"),
        },
        Deed::Pause(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn both(dialog: &Dialog) -> Result<()> {
        let (address, server) = dialog.clone().listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        dialog.connect(address)?;
        server.join().expect("the server ends")
    }

    #[test]
    fn both_sides_play_to_the_end() {
        let dialog = Dialog::default()
            .client("one")
            .server("two")
            .act(Side::Client, Deed::Fill(300_000))
            .act(Side::Server, Deed::Pause(1))
            .server("three");
        assert_eq!(dialog.bytes(), 300_011);
        both(&dialog.clone().closed_by(Side::Client)).unwrap();
        both(&dialog.clone().closed_by(Side::Server)).unwrap();
        both(&dialog.clone().act(Side::Client, Deed::Reset)).unwrap();
        both(&dialog.act(Side::Server, Deed::Reset)).unwrap();
    }

    #[test]
    fn a_side_that_does_something_else_is_told_so() {
        let (address, server) =
            Dialog::default().client("one").listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Dialog::default().client("two").connect(address).unwrap();
        let error = server.join().unwrap().unwrap_err();
        assert!(format!("{error:#}").contains("not what was to come"), "{error:#}");
    }
}
