//! One connection, from its TLS handshake to its last answer.
//! It ends when it has been idle for too long, whatever it is busy with: shaking hands, sending a head, not reading.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;

use super::{
    access::{Access, Peer},
    activity::Activity,
    listener::Stream,
    reload::Reloaded,
};
use crate::config;

/// How long, and up to how many bytes, a refused request is still read so that its answer is not lost.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 4 << 20;

/// What every connection of a server has in common.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) router: Router,
    pub(super) limits: config::Server,
    pub(super) tls: Option<Arc<Reloaded<ServerConfig>>>,
    pub(super) access: Access,
    /// True once the server stops.
    pub(super) stopped: watch::Receiver<bool>,
}

/// Answers the requests of one connection until it ends, is idle for too long, or the server closes.
pub(super) async fn answer(stream: Stream, peer: Option<IpAddr>, terms: Terms, activity: Arc<Activity>) {
    let mut stopped = terms.stopped.clone();
    let deadline = activity.opened() + terms.limits.idle_timeout;
    let stream = tokio::select! {
        encrypted = timeout_at(deadline, encrypt(stream, &terms)) => match encrypted {
            Ok(Ok(stream)) => stream,
            // Nobody was refused who left by himself, as probes of a port do.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return,
            Ok(Err(error)) => return terms.access.note_handshake(peer, &error),
            // A client that says nothing; idle ones are closed without a word in plain HTTP too.
            Err(_) => return,
        },
        _ = stopped.wait_for(|stopped| *stopped) => return,
    };
    serve(stream, peer, terms, &activity).await;
}

async fn encrypt(stream: Stream, terms: &Terms) -> io::Result<Stream> {
    let Some(tls) = &terms.tls else { return Ok(stream) };
    let encrypted = TlsAcceptor::from(tls.current().await).accept(stream).await?;
    Ok(Box::new(encrypted))
}

async fn serve(stream: Stream, peer: Option<IpAddr>, terms: Terms, activity: &Arc<Activity>) {
    let Terms { router, limits, mut stopped, .. } = terms;
    let answers = TowerToHyperService::new(router);
    let current = Arc::clone(activity);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let activity = Arc::clone(&current);
        activity.begin();
        request.extensions_mut().insert(Peer(peer));
        let answer = answers.call(request);
        Box::pin(async move {
            let answer = answer.await;
            activity.end();
            answer
        })
    });
    let mut connection = http1::Builder::new()
        // Time limits are kept below, where they also hold for a client that does not read its answer.
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes as usize)
        .serve_connection(TokioIo::new(stream), service);
    let mut closing = false;
    let ended = loop {
        let idle_since = activity.idle_since();
        let deadline = idle_since.unwrap_or_else(Instant::now) + limits.idle_timeout;
        tokio::select! {
            ended = std::future::poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
            // Also when the server itself is gone.
            _ = stopped.wait_for(|stopped| *stopped), if !closing => {
                closing = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            () = tokio::time::sleep_until(deadline) => {
                if idle_since.is_some() && activity.idle_since() == idle_since {
                    return;
                }
            }
        }
    };
    let refused = ended.is_err_and(|error| error.is_parse()) && !closing;
    let rest = if refused { LINGER_BYTES } else { 0 };
    timeout(LINGER, close(connection.into_parts().io.into_inner(), rest)).await.ok();
}

/// Says that nothing more is sent, which under TLS is a message of its own (RFC 8446, 6.1), and reads on what a client
/// still sends after its request was refused: closing at once would reset the connection, and the client would lose
/// the answer (RFC 9112, 9.6).
async fn close(mut stream: Stream, rest: u64) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(rest);
    let mut buffer = [0; 8192];
    while rest.read(&mut buffer).await? > 0 {}
    Ok(())
}
