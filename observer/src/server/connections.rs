//! The connections held open, within their limits: from where, how many, how long idle, how large a head.
//! Idle ones never keep a scrape out: the one idle for longest makes room, and each is closed in time.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    sync::{oneshot, watch},
    task::{AbortHandle, Id, JoinSet},
};

use super::{
    Endpoint,
    activity::Activity,
    answer::{Terms, answer},
    listener::Listener,
};
use crate::{config, confine::descriptors};

/// How long running answers may take at shutdown.
const GRACE: Duration = Duration::from_millis(500);
/// Pause after a failed accept: without free files the next one fails as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Every open connection, each a task.
struct Open {
    tasks: JoinSet<()>,
    held: HashMap<Id, (Arc<Activity>, AbortHandle)>,
    most: usize,
}

impl Open {
    /// Whether there is room for one more, made by closing the one that has been idle for longest.
    fn make_room(&mut self) -> bool {
        self.held.len() < self.most || self.close_idle()
    }

    /// Closes the connection that has been idle for longest; whether there was one.
    fn close_idle(&mut self) -> bool {
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

/// How many connections are held: as many as were asked for, where the agent has descriptors left for itself then.
fn most(asked: u32) -> usize {
    let asked = asked as usize;
    let most = descriptors::spare().map_or(asked, |spare| asked.min(spare / 2));
    if most < asked {
        tracing::warn!(
            connections = most,
            asked,
            "few files may be open, and most are kept for targets: raise the limit (`ulimit -n`, LimitNOFILE) or ask for \
             fewer connections in server.max_connections"
        );
    }
    // One is always answered, if only to tell what is wrong.
    most.max(1)
}

/// Serves until `shutdown` is done; the listener is then given to `release`.
pub(super) async fn serve(
    endpoint: Endpoint,
    limits: &config::Server,
    router: &Router,
    shutdown: impl Future<Output = ()>,
    release: oneshot::Sender<Listener>,
) {
    let Endpoint { listener, tls, access } = endpoint;
    let (stop, stopped) = watch::channel(false);
    let terms = Terms { router: access.guard(router.clone()), limits: limits.clone(), tls, access, stopped };
    let mut open = Open { tasks: JoinSet::new(), held: HashMap::new(), most: most(limits.max_connections) };
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
                Ok((stream, peer)) => {
                    failing = false;
                    if !terms.access.admits(peer) {
                        continue;
                    }
                    if !open.make_room() {
                        tracing::debug!("a connection was refused: all others are being answered");
                        continue;
                    }
                    let activity = Arc::new(Activity::new());
                    let task = open.tasks.spawn(answer(stream, peer, terms.clone(), Arc::clone(&activity)));
                    open.held.insert(task.id(), (activity, task));
                    // Its request may be there, and then it is none of the idle ones when more come in a burst.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "a connection for metrics could not be accepted; \
                            if files have run out, raise the limit of open files");
                    }
                    failing = true;
                    // What it holds may be what is lacking, and is there again once its task has ended.
                    if open.close_idle() {
                        tokio::task::yield_now().await;
                    } else {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            },
        }
    }
    // Dropped here where nobody takes it.
    release.send(listener).ok();
    stop.send_replace(true);
    let ended = async { while open.tasks.join_next().await.is_some() {} };
    // What is still being answered after that is cut off with the set of tasks.
    tokio::time::timeout(GRACE, ended).await.ok();
}
