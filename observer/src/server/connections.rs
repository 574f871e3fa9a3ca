//! The connections held open, within their limits: how many, how long idle, how large a head.
//! Idle ones never keep a scrape out: the one idle for longest makes room, and each is closed in time.

use std::{
    collections::HashMap,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, Id, JoinSet},
    time::Instant,
};

use crate::config;

/// How long running answers may take at shutdown.
const GRACE: Duration = Duration::from_millis(500);
/// How long, and up to how many bytes, a refused request is still read so that its answer is not lost.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 4 << 20;
/// Pause after a failed accept: without free files the next one fails as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// When a connection was last of use, as milliseconds since it was opened.
struct Activity {
    opened: Instant,
    idle_since: AtomicU64,
}

/// In place of a time while a request is being answered.
const BUSY: u64 = u64::MAX;

impl Activity {
    fn new() -> Self {
        Self { opened: Instant::now(), idle_since: AtomicU64::new(0) }
    }

    fn begin(&self) {
        self.idle_since.store(BUSY, Ordering::Relaxed);
    }

    fn end(&self) {
        let elapsed = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(BUSY - 1);
        self.idle_since.store(elapsed, Ordering::Relaxed);
    }

    /// None while a request is being answered.
    fn idle_since(&self) -> Option<Instant> {
        match self.idle_since.load(Ordering::Relaxed) {
            BUSY => None,
            elapsed => Some(self.opened + Duration::from_millis(elapsed)),
        }
    }
}

/// Every open connection, each a task.
struct Open {
    tasks: JoinSet<()>,
    held: HashMap<Id, (Arc<Activity>, AbortHandle)>,
    most: usize,
}

impl Open {
    /// Whether there is room for one more, made by closing the one that has been idle for longest.
    fn make_room(&mut self) -> bool {
        if self.held.len() < self.most {
            return true;
        }
        let idle = self.held.iter().filter_map(|(id, (activity, _))| Some((activity.idle_since()?, *id)));
        let Some((_, id)) = idle.min_by_key(|(since, _)| *since) else {
            return false;
        };
        if let Some((_, task)) = self.held.remove(&id) {
            task.abort();
        }
        true
    }
}

pub(super) async fn serve(
    listener: TcpListener,
    limits: &config::Server,
    router: &Router,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopped) = watch::channel(false);
    let mut open =
        Open { tasks: JoinSet::new(), held: HashMap::new(), most: limits.max_connections as usize };
    let mut failing = false;
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = open.tasks.join_next_with_id() => {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                open.held.remove(&id);
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    if !open.make_room() {
                        tracing::debug!("a connection was refused: all others are being answered");
                        continue;
                    }
                    let activity = Arc::new(Activity::new());
                    let connection = answer(stream, router.clone(), limits.clone(), activity.clone(), stopped.clone());
                    let task = open.tasks.spawn(connection);
                    open.held.insert(task.id(), (activity, task));
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "a connection to the metrics port could not be accepted; \
                            if files have run out, raise the limit of open files");
                    }
                    failing = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stop.send_replace(true);
    let ended = async { while open.tasks.join_next().await.is_some() {} };
    // What is still being answered after that is cut off with the set of tasks.
    tokio::time::timeout(GRACE, ended).await.ok();
}

/// Answers the requests of one connection until it ends, is idle for too long, or the server closes.
async fn answer(
    stream: TcpStream,
    router: Router,
    limits: config::Server,
    activity: Arc<Activity>,
    mut stopped: watch::Receiver<bool>,
) {
    let answers = TowerToHyperService::new(router);
    let current = Arc::clone(&activity);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let activity = Arc::clone(&current);
        activity.begin();
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
    if ended.is_err_and(|error| error.is_parse()) && !closing {
        let stream = connection.into_parts().io.into_inner();
        tokio::time::timeout(LINGER, read_out(stream)).await.ok();
    }
}

/// Reads on what a client still sends after its request was refused: closing at once would reset the connection,
/// and the client would lose the answer (RFC 9112, 9.6).
async fn read_out(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(LINGER_BYTES);
    let mut buffer = [0; 8192];
    while rest.read(&mut buffer).await? > 0 {}
    Ok(())
}
