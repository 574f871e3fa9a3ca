//! A TCP stream that enters into a ledger what goes through it and which side ended it.
//! It judges by what it saw itself: the other side's FIN or RST, or its own close before either.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

use super::tally::{Ledger, Reason};

/// A counted connection; dropping it closes it, which is an entry too.
#[derive(Debug)]
pub struct CountedStream {
    stream: TcpStream,
    ledger: Arc<Ledger>,
    /// Who ended it first, once one side did.
    ended: Option<Reason>,
    /// Closing it sends a reset.
    resets: bool,
}

impl CountedStream {
    /// Takes over a connection that was just opened.
    pub fn new(stream: TcpStream, ledger: Arc<Ledger>) -> Self {
        ledger.opened();
        Self { stream, ledger, ended: None, resets: false }
    }

    /// The bare stream, for its options.
    pub const fn get_ref(&self) -> &TcpStream {
        &self.stream
    }

    /// Makes the close of this connection a reset.
    pub fn reset_on_close(&mut self) -> io::Result<()> {
        self.stream.set_zero_linger()?;
        self.resets = true;
        Ok(())
    }

    /// Notes the reset by the other side that an operation failed with.
    fn judge<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        let reset = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        };
        if result.as_ref().is_err_and(reset) {
            self.ended.get_or_insert(Reason::PeerReset);
        }
        result
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        let read = buf.filled().len() - before;
        self.ledger.read(read);
        if result.is_ok() && read == 0 && room > 0 {
            self.ended.get_or_insert(Reason::PeerClose);
        }
        Poll::Ready(self.judge(result))
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.ledger.written(*result.as_ref().unwrap_or(&0));
        Poll::Ready(self.judge(result))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        self.ledger.written(*result.as_ref().unwrap_or(&0));
        Poll::Ready(self.judge(result))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended.get_or_insert(Reason::LocalClose);
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for CountedStream {
    fn drop(&mut self) {
        let own = if self.resets { Reason::LocalReset } else { Reason::LocalClose };
        self.ledger.closed(self.ended.unwrap_or(own));
    }
}

/// A listener whose connections are counted.
#[derive(Debug)]
pub struct CountedListener {
    listener: TcpListener,
    ledger: Arc<Ledger>,
}

impl CountedListener {
    /// Counts what `listener` accepts.
    pub const fn new(listener: TcpListener, ledger: Arc<Ledger>) -> Self {
        Self { listener, ledger }
    }
}

impl Listener for CountedListener {
    type Io = CountedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // Axum's own accept, which waits and tries again where the process has no file descriptor left.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (CountedStream::new(stream, Arc::clone(&self.ledger)), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
