//! The thread that accepts, decrypts, reads and answers requests, and can do nothing else: it has no capabilities, and no
//! call that opens or connects. Scrapes, and the files of certificates and secrets, are read by the caller's threads.

use std::thread;

use anyhow::{Context as _, anyhow};
use axum::Router;
use tokio::{
    runtime::{self, Handle},
    sync::oneshot,
    task::{self, JoinError},
};

use super::{Endpoint, connections, listener::Listener};
use crate::{
    config,
    confine::{self, Domain},
};

/// Its name, as the kernel shows it.
const NAME: &str = "observer-server";

/// The caller's runtime, whose threads may open files.
#[derive(Clone)]
pub(super) struct Outside(Handle);

impl Outside {
    /// That of the caller.
    pub(super) fn here() -> Self {
        Self(Handle::current())
    }

    /// Does work that blocks there. The runtime starts a thread for it from the thread that asks, whose rights it gets: so
    /// one of the runtime's own has to ask.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        self.0.spawn(async { task::spawn_blocking(work).await }).await?
    }
}

/// Runs it until `shutdown` is done and the last answers are sent.
pub(super) async fn serve(
    endpoint: Endpoint,
    limits: config::Server,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let (stop, stopped) = oneshot::channel::<()>();
    let (release, released) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let run = move || {
        report(&confine::confine_server());
        let served = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the server's thread")
            .map(|runtime| {
                // Also when the caller is gone.
                let stopped = async { drop(stopped.await) };
                runtime.block_on(connections::serve(endpoint, &limits, &router, stopped, release));
                // Passwords that are being checked belong to nobody any more.
                runtime.shutdown_background();
            });
        end.send(served).ok();
    };
    thread::Builder::new().name(NAME.to_owned()).spawn(run).context("cannot start the server's thread")?;
    let stop_it = async {
        shutdown.await;
        stop.send(()).ok();
        // A Unix socket is removed with its listener, which that thread cannot do.
        drop::<Result<Listener, _>>(released.await);
    };
    let panicked = |_| Err(anyhow!("the server's thread panicked, which is a bug; the log says where"));
    let ended = async { ended.await.unwrap_or_else(panicked) };
    tokio::pin!(ended);
    tokio::select! {
        result = &mut ended => result,
        () = stop_it => ended.await,
    }
}

/// Says what could not be given up: everything else works all the same.
fn report(confined: &confine::Confined) {
    for error in [confined.capabilities.as_ref().err(), confined.domain.as_ref().err()].into_iter().flatten()
    {
        tracing::warn!(error = format!("{error:#}"), "the server's thread keeps what it does not need");
    }
    if let Err(error) = &confined.system_calls {
        tracing::warn!(
            error = format!("{error:#}"),
            "the server's thread keeps system calls that it does not need"
        );
    }
    if let Ok(Domain::None) = confined.domain {
        tracing::debug!("this kernel has no Landlock; the server's thread is confined without");
    }
}
