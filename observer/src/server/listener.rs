//! What connections come in by: a port or a Unix socket.
//! Binding is apart from serving, so that a taken port is known before anything is attached.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
};

use anyhow::anyhow;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};

use super::unix::UnixSocket;
use crate::config::Listen;

/// Bytes both ways, with or without encryption.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Connection for C {}

/// An accepted connection.
pub(super) type Stream = Box<dyn Connection>;

/// Takes connections, and shows where.
pub(super) enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixSocket),
}

impl Listener {
    pub(super) async fn bind(listen: &Listen) -> anyhow::Result<Self> {
        match listen {
            Listen::Address(address) => {
                let listener = TcpListener::bind(address).await.map_err(|error| refused(*address, &error))?;
                let address = listener.local_addr()?;
                Ok(Self::Tcp(listener, address))
            }
            Listen::Unix(path) => UnixSocket::bind(path).await.map(Self::Unix),
        }
    }

    /// The next connection, and from which address it is, where it has one.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener, _) => {
                let (stream, peer) = listener.accept().await?;
                // A socket for both families shows addresses of IPv4 as mapped ones.
                Ok((Box::new(stream), Some(peer.ip().to_canonical())))
            }
            Self::Unix(socket) => Ok((Box::new(socket.accept().await?), None)),
        }
    }

    /// The address, where it is one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, address) => address.fmt(formatter),
            Self::Unix(socket) => socket.fmt(formatter),
        }
    }
}

fn refused(address: SocketAddr, error: &io::Error) -> anyhow::Error {
    let (port, ip) = (address.port(), address.ip());
    let another = "with --listen or `listen` in the configuration";
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow!(
                "port {port} on {ip} is taken by another process; stop it, or choose another port {another}"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            anyhow!("{ip} is no address of this host; choose another address {another}")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow!("port {port} on {ip} may not be taken by this user; choose a port from 1024 {another}")
        }
        _ => anyhow!("cannot listen on port {port} of {ip}: {error}; choose another address {another}"),
    }
}
