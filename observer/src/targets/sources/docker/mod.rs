//! Containers from Docker's API on its unix socket; podman's compatible API answers the same requests.
//! A session lists all containers and follows the events; when it breaks it is begun anew, ever less often.

pub(in crate::targets) mod answers;
mod client;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use self::{
    answers::{Details, Event, Version, summaries},
    client::{encoded, get, lines},
};
use super::names::id_of_cgroup;
use crate::targets::source::{Change, Changes, Closed, Place, Question, Source, Workload};

/// Wait after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait between two attempts, and how long a session must last for the next wait to be the first again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The events that are followed. podman says `died` and `remove` where Docker says `die` and `destroy`.
const EVENTS: &str =
    r#"{"type":["container"],"event":["create","start","die","died","rename","destroy","remove"]}"#;

/// Docker, or podman, behind a socket.
pub(super) struct Docker {
    socket: PathBuf,
}

/// Why a session has ended.
enum End {
    /// Nobody listens any more.
    Closed,
    /// It cannot be asked.
    Lost(anyhow::Error),
}

impl From<Closed> for End {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<anyhow::Error> for End {
    fn from(error: anyhow::Error) -> Self {
        Self::Lost(error)
    }
}

impl Docker {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Until nobody listens any more.
    async fn follow(self, changes: Changes, mut questions: mpsc::Receiver<Question>) {
        let mut pause = FIRST_PAUSE;
        let mut reachable = true;
        loop {
            let begun = Instant::now();
            let mut listed = false;
            let End::Lost(error) = self.session(&changes, &mut questions, &mut listed).await else { return };
            let error = format!("{error:#}");
            if reachable || listed {
                tracing::warn!(
                    socket = %self.socket.display(),
                    error,
                    "Docker cannot be reached; trying again, other selectors go on. Is it running, and may this \
                     user open its socket?"
                );
            } else {
                tracing::debug!(error, "Docker still cannot be reached");
            }
            reachable = false;
            let told = format!("Docker at {} cannot be reached ({error})", self.socket.display());
            if changes.send(Change::Unreachable(told)).await.is_err() {
                return;
            }
            if begun.elapsed() >= LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = changes.closed() => return,
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// From connecting until Docker is lost or nobody listens any more.
    async fn session(
        &self,
        changes: &Changes,
        questions: &mut mpsc::Receiver<Question>,
        listed: &mut bool,
    ) -> End {
        match self.follow_session(changes, questions, listed).await {
            Ok(()) => End::Closed,
            Err(end) => end,
        }
    }

    async fn follow_session(
        &self,
        changes: &Changes,
        questions: &mut mpsc::Receiver<Question>,
        listed: &mut bool,
    ) -> Result<(), End> {
        let session = Session::open(&self.socket).await?;
        // From before the list, so that no change falls between the two; a second for the rounding.
        let since =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()).saturating_sub(1);
        let containers = session.containers("").await?;
        *listed = true;
        tracing::info!(socket = %self.socket.display(), containers = containers.len(), "following Docker");
        changes.send(Change::Snapshot(containers)).await?;
        let mut events = session.events(since).await?;
        loop {
            let change = tokio::select! {
                line = events.next() => match line.context("reading Docker's events")? {
                    Some(line) => session.after(&line).await?,
                    None => return Err(End::Lost(anyhow::anyhow!("Docker closed the stream of events"))),
                },
                question = questions.recv() => match question {
                    Some(Question::WhatIs(cgroup)) => match id_of_cgroup(&cgroup.path) {
                        Some(id) => Some(session.describe(id).await?),
                        None => None,
                    },
                    Some(Question::WhereIs(id)) => session.with_first_process(&id).await?,
                    Some(Question::LookAgain) => None,
                    None => return Ok(()),
                },
            };
            if let Some(change) = change {
                changes.send(change).await?;
            }
        }
    }
}

impl Source for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn run(self: Box<Self>, changes: Changes, questions: mpsc::Receiver<Question>) -> BoxFuture<'static, ()> {
        Box::pin(self.follow(changes, questions))
    }
}

/// The other end has shown itself to be Docker or podman.
struct Session<'a> {
    socket: &'a Path,
    /// Stands before each path: `/v1.47`.
    version: String,
    runtime: &'static str,
}

impl<'a> Session<'a> {
    async fn open(socket: &'a Path) -> anyhow::Result<Self> {
        let answer = get(socket, "/version").await.context("asking Docker for its version")?;
        let version: Version = serde_json::from_slice(&answer).context("asking Docker for its version")?;
        let number = &version.api_version;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            bail!("what answers is no Docker: it names no version of its API");
        }
        Ok(Self { socket, version: format!("/v{number}"), runtime: version.runtime() })
    }

    /// Containers as listed, of these filters or all. Inspecting one would wait for a lock that Docker holds for as long
    /// as it starts the container, which is just when the answer is needed; a list is made from a snapshot (0.4 s
    /// against 1 ms with dockerd 20.10).
    async fn containers(&self, filters: &str) -> anyhow::Result<Vec<Workload>> {
        let path = format!("{}/containers/json?all=true{filters}", self.version);
        let answer = get(self.socket, &path).await.context("listing Docker's containers")?;
        let summaries = summaries(&answer).context("listing Docker's containers")?;
        let mut containers = Vec::with_capacity(summaries.len());
        for mut container in summaries.into_iter().filter_map(|summary| summary.workload(self.runtime)) {
            if is_image_id(&container.info.image) {
                self.restore_image(&mut container).await;
            }
            containers.push(container);
        }
        Ok(containers)
    }

    async fn details(&self, id: &str) -> anyhow::Result<Details> {
        let path = format!("{}/containers/{}/json", self.version, encoded(id));
        Ok(serde_json::from_slice(&get(self.socket, &path).await?)?)
    }

    async fn events(&self, since: u64) -> anyhow::Result<client::Lines> {
        let path = format!("{}/events?since={since}&filters={}", self.version, encoded(EVENTS));
        lines(self.socket, &path).await.context("following Docker's events")
    }

    /// A list names an image by its id once its tag has moved to a newer one; the container itself still knows.
    async fn restore_image(&self, container: &mut Workload) {
        let details = self.details(&container.id).await;
        if let Some((image, version)) = details.ok().and_then(Details::image) {
            container.info.image = image;
            container.info.version = version;
        }
    }

    async fn describe(&self, id: &str) -> anyhow::Result<Change> {
        let filter = serde_json::json!({ "id": [id] }).to_string();
        let found = self.containers(&format!("&filters={}", encoded(&filter))).await?;
        // The filter takes prefixes.
        let found = found.into_iter().find(|container| container.id == id);
        Ok(found.map_or_else(|| Change::Gone(id.to_owned()), Change::Upsert))
    }

    /// The container with its first process; `None` where it has none.
    async fn with_first_process(&self, id: &str) -> anyhow::Result<Option<Change>> {
        let Change::Upsert(mut container) = self.describe(id).await? else {
            return Ok(Some(Change::Gone(id.to_owned())));
        };
        let first_process = self.details(id).await.ok().and_then(|details| details.first_process());
        container.place = Place::NamedById { first_process };
        Ok(first_process.map(|_| Change::Upsert(container)))
    }

    /// What follows from an event; nothing, where it is none.
    async fn after(&self, line: &[u8]) -> anyhow::Result<Option<Change>> {
        let event = serde_json::from_slice::<Event>(line).ok().and_then(Event::read);
        let Some((action, id)) = event else { return Ok(None) };
        match action.as_str() {
            "destroy" | "remove" => Ok(Some(Change::Gone(id))),
            "die" | "died" => Ok(Some(Change::Stopped(id))),
            "create" | "start" | "rename" => self.describe(&id).await.map(Some),
            _ => Ok(None),
        }
    }
}

fn is_image_id(image: &str) -> bool {
    let hex = image.strip_prefix("sha256:").unwrap_or(image);
    hex.len() >= 12 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
