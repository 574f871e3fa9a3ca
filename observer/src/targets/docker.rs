//! Containers from Docker's API on its unix socket; podman's compatible API answers the same requests.
//! A session lists all containers and follows the events; when it breaks it is begun anew, ever less often.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use bollard::{
    API_DEFAULT_VERSION, Docker,
    models::{ContainerSummary, ContainerSummaryStateEnum, EventMessage},
    query_parameters::{EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder},
};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::containers::{self, Container};

/// Seconds that Docker has to begin an answer. Listing a thousand containers takes it well under one.
const ANSWER_SECONDS: u64 = 5;
/// Wait after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait between two attempts, and how long a session must last for the next wait to be the first again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often a list is asked for that cannot be read, before containers in unusual states are left out.
const ATTEMPTS: u32 = 4;
/// Wait between these.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(250);

/// What Docker says; the inventory's copy of its containers follows from these.
#[derive(Debug)]
pub(super) enum Update {
    /// All containers there are; begins every session.
    All(Vec<Container>),
    /// A container is new or has changed.
    Changed(Container),
    /// The first process of the container of this id has ended.
    Stopped(String),
    /// The container of this id has been deleted.
    Deleted(String),
    /// Docker cannot be asked now. What it said before still holds as far as cgroups show.
    Unreachable,
}

/// What the inventory asks; the answer is an [`Update`].
#[derive(Debug)]
pub(super) enum Request {
    /// What is the container of this id?
    Describe(String),
    /// Which process did it begin with?
    InitProcess(String),
}

/// Follows Docker until the receiver of the updates is dropped.
pub(super) async fn follow(
    socket: PathBuf,
    updates: mpsc::Sender<Update>,
    mut requests: mpsc::Receiver<Request>,
) {
    let mut pause = FIRST_PAUSE;
    let mut reachable = true;
    while !updates.is_closed() {
        let begun = Instant::now();
        let mut listed = false;
        let outcome = session(&socket, &updates, &mut requests, &mut |count| {
            listed = true;
            tracing::info!(socket = %socket.display(), containers = count, "following Docker");
        })
        .await;
        let Err(error) = outcome else { return };
        if reachable || listed {
            tracing::warn!(
                socket = %socket.display(),
                error = format!("{error:#}"),
                "Docker cannot be reached; trying again, other selectors go on. Is it running, and may this user \
                 open its socket?"
            );
        } else {
            tracing::debug!(error = format!("{error:#}"), "Docker still cannot be reached");
        }
        reachable = false;
        if updates.send(Update::Unreachable).await.is_err() {
            return;
        }
        if begun.elapsed() >= LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = updates.closed() => return,
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// All containers, asked once.
pub(super) async fn list(socket: &Path) -> anyhow::Result<Vec<Container>> {
    Session::open(socket).await?.all().await
}

/// This container with its first process, asked once; `None` where it has none.
pub(super) async fn init_process(socket: &Path, id: &str) -> anyhow::Result<Option<Update>> {
    Session::open(socket).await?.with_init(id).await
}

/// From connecting until Docker is lost (an error) or nobody listens any more.
async fn session(
    socket: &Path,
    updates: &mpsc::Sender<Update>,
    requests: &mut mpsc::Receiver<Request>,
    on_listed: &mut impl FnMut(usize),
) -> anyhow::Result<()> {
    let session = Session::open(socket).await?;
    // From before the list, so that no change falls between the two; a second for the rounding.
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().saturating_sub(1);
    let containers = session.all().await?;
    on_listed(containers.len());
    if updates.send(Update::All(containers)).await.is_err() {
        return Ok(());
    }
    let filters = HashMap::from([
        ("type", vec!["container"]),
        // podman says `died` and `remove` where Docker says `die` and `destroy`.
        ("event", vec!["create", "start", "die", "died", "rename", "destroy", "remove"]),
    ]);
    let options = EventsOptionsBuilder::new().since(&since.to_string()).filters(&filters).build();
    let mut events = std::pin::pin!(session.docker.events(Some(options)));
    loop {
        let update = tokio::select! {
            event = events.next() => match event {
                Some(event) => session.after(event.context("reading Docker's events")?).await?,
                None => bail!("Docker closed the stream of events"),
            },
            request = requests.recv() => match request {
                Some(Request::Describe(id)) => Some(session.describe(&id).await?),
                Some(Request::InitProcess(id)) => session.with_init(&id).await?,
                None => return Ok(()),
            },
        };
        if let Some(update) = update
            && updates.send(update).await.is_err()
        {
            return Ok(());
        }
    }
}

/// A connection whose other end has shown itself to be Docker or podman.
struct Session {
    docker: Docker,
    runtime: &'static str,
}

impl Session {
    async fn open(socket: &Path) -> anyhow::Result<Self> {
        let path = socket.to_str().context("the path of Docker's socket is not UTF-8")?;
        let docker = Docker::connect_with_unix(path, ANSWER_SECONDS, API_DEFAULT_VERSION)?;
        let docker = docker.negotiate_version().await.context("asking Docker for its version")?;
        let version = docker.version().await.context("asking Docker for its version")?;
        let components = version.components.unwrap_or_default();
        let podman = components.iter().any(|component| component.name.starts_with("Podman"));
        Ok(Self { docker, runtime: if podman { "podman" } else { "docker" } })
    }

    async fn all(&self) -> anyhow::Result<Vec<Container>> {
        self.containers(&HashMap::new()).await
    }

    /// Containers as listed. Inspecting one would wait for a lock that Docker holds for as long as it starts the
    /// container, which is just when the answer is needed; a list is made from a snapshot (0.4 s against 1 ms with
    /// dockerd 20.10).
    async fn containers(&self, filters: &HashMap<&str, Vec<&str>>) -> anyhow::Result<Vec<Container>> {
        let summaries = self.summaries(filters).await?;
        let mut containers = Vec::with_capacity(summaries.len());
        for summary in summaries {
            let Some(mut container) = from_summary(summary, self.runtime) else {
                continue;
            };
            if is_image_id(&container.image) {
                self.restore_image(&mut container).await;
            }
            containers.push(container);
        }
        Ok(containers)
    }

    async fn summaries(&self, filters: &HashMap<&str, Vec<&str>>) -> anyhow::Result<Vec<ContainerSummary>> {
        let mut filters = filters.clone();
        let mut attempt = 0;
        loop {
            if attempt == ATTEMPTS {
                filters.insert("status", vec!["created", "running", "paused"]);
            }
            let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
            let answer = self.docker.list_containers(Some(options));
            let answer = tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS), answer).await;
            match answer.context("Docker does not answer")? {
                // podman shows states that Docker has not (`stopped`, `initialized`), most of them for a moment.
                Err(bollard::errors::Error::JsonDataError { .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(ATTEMPT_PAUSE).await;
                }
                answer => return answer.context("listing Docker's containers"),
            }
        }
    }

    /// A list names an image by its id once its tag has moved to a newer one; the container itself still knows.
    async fn restore_image(&self, container: &mut Container) {
        let inspected = self.docker.inspect_container(&container.id, None::<InspectContainerOptions>).await;
        let config = inspected.ok().and_then(|it| it.config);
        if let Some(image) = config.as_ref().and_then(|it| it.image.clone()) {
            let labels = config.and_then(|it| it.labels).unwrap_or_default();
            container.version = containers::version(&image, &labels);
            container.image = image;
        }
    }

    async fn describe(&self, id: &str) -> anyhow::Result<Update> {
        let found = self.containers(&HashMap::from([("id", vec![id])])).await?;
        // The filter takes prefixes.
        let found = found.into_iter().find(|container| container.id == id);
        Ok(found.map_or_else(|| Update::Deleted(id.to_owned()), Update::Changed))
    }

    async fn with_init(&self, id: &str) -> anyhow::Result<Option<Update>> {
        let Update::Changed(mut container) = self.describe(id).await? else {
            return Ok(Some(Update::Deleted(id.to_owned())));
        };
        let inspected = self.docker.inspect_container(id, None::<InspectContainerOptions>).await;
        let state = inspected.ok().and_then(|it| it.state);
        let pid = state.and_then(|it| it.pid).and_then(|pid| u32::try_from(pid).ok());
        container.init = pid.filter(|pid| *pid != 0);
        Ok(container.init.is_some().then_some(Update::Changed(container)))
    }

    async fn after(&self, event: EventMessage) -> anyhow::Result<Option<Update>> {
        let Some(id) = event.actor.and_then(|actor| actor.id) else {
            return Ok(None);
        };
        match event.action.as_deref() {
            Some("destroy" | "remove") => Ok(Some(Update::Deleted(id))),
            Some("die" | "died") => Ok(Some(Update::Stopped(id))),
            Some("create" | "start" | "rename") => self.describe(&id).await.map(Some),
            _ => Ok(None),
        }
    }
}

fn is_image_id(image: &str) -> bool {
    let hex = image.strip_prefix("sha256:").unwrap_or(image);
    hex.len() >= 12 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `None` for an entry without an id or a name, which no runtime makes.
pub(super) fn from_summary(summary: ContainerSummary, runtime: &str) -> Option<Container> {
    let names = summary.names.unwrap_or_default();
    let names = names.iter().map(|name| name.trim_start_matches('/'));
    // Legacy links add further names, of the form `OTHER/ALIAS`.
    let name = names.min_by_key(|name| name.contains('/'))?.to_owned();
    let image = summary.image.unwrap_or_default();
    let labels = summary.labels.unwrap_or_default();
    let digest = summary.image_id.unwrap_or_default();
    let bare = digest.len() == 64 && !digest.contains(':');
    let running =
        matches!(summary.state, Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED));
    Some(Container {
        id: summary.id?,
        name,
        version: containers::version(&image, &labels),
        image,
        image_digest: if bare { format!("sha256:{digest}") } else { digest },
        runtime: runtime.to_owned(),
        running,
        init: None,
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixListener,
    };

    use super::*;

    #[test]
    fn a_summary_becomes_a_container() {
        let summary = ContainerSummary {
            id: Some("a".repeat(64)),
            names: Some(vec!["/other/alias".to_owned(), "/web".to_owned()]),
            image: Some("acme/chat:2.4.1".to_owned()),
            image_id: Some("b".repeat(64)),
            state: Some(ContainerSummaryStateEnum::RUNNING),
            ..ContainerSummary::default()
        };
        let container = from_summary(summary, "podman").unwrap();
        assert_eq!(container.name, "web");
        assert_eq!(container.version, "2.4.1");
        assert_eq!(container.image_digest, format!("sha256:{}", "b".repeat(64)));
        assert!(container.running);
        let info = container.info();
        assert_eq!((info.container_id.as_str(), info.runtime.as_str()), ("aaaaaaaaaaaa", "podman"));
        assert_eq!(from_summary(ContainerSummary::default(), "docker"), None);
    }

    #[test]
    fn an_image_without_a_name_is_told_apart() {
        assert!(is_image_id("sha256:0123456789ab"));
        assert!(is_image_id(&"a".repeat(64)));
        assert!(!is_image_id("acme/chat:2.4.1"));
        assert!(!is_image_id("cafe"));
    }

    /// Answers every connection with these bytes; `None` hangs up at once.
    fn answering(directory: &Path, answer: Option<&'static [u8]>) -> PathBuf {
        let socket = directory.join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if let Some(answer) = answer {
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(answer).await;
                }
            }
        });
        socket
    }

    #[tokio::test]
    async fn what_is_not_docker_is_an_error_and_no_panic() {
        let answers: [Option<&'static [u8]>; 5] = [
            None,
            Some(b"\x00\xff\xfe garbage \r\n\r\n"),
            Some(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n<html></>"),
            Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
            Some(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"),
        ];
        for answer in answers {
            let directory = tempfile::tempdir().unwrap();
            let socket = answering(directory.path(), answer);
            assert!(list(&socket).await.is_err(), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_is_absent_or_refuses_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        assert!(list(&socket).await.is_err());
        drop(UnixListener::bind(&socket).unwrap());
        assert!(list(&socket).await.is_err());
    }

    #[tokio::test]
    async fn a_state_that_docker_has_not_hides_only_its_own_container() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let body = if request.contains("/version") {
                    r#"{"ApiVersion":"1.41","Components":[{"Name":"Podman Engine","Version":"4.3.1"}]}"#
                } else if request.contains("status") {
                    r#"[{"Id":"a1","Names":["/web"],"State":"running"}]"#
                } else {
                    r#"[{"Id":"a1","Names":["/web"],"State":"running"},{"Id":"b2","Names":["/db"],"State":"stopped"}]"#
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}",
                    body.len()
                );
                stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
            }
        });
        let containers = list(&socket).await.unwrap();
        let shown: Vec<(&str, &str)> =
            containers.iter().map(|it| (it.name.as_str(), it.runtime.as_str())).collect();
        assert_eq!(shown, [("web", "podman")]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_docker_is_reported_each_time_and_tried_ever_less_often() {
        let directory = tempfile::tempdir().unwrap();
        let (updates, mut received) = mpsc::channel(1);
        let (_requests, asked) = mpsc::channel(1);
        let following = tokio::spawn(follow(directory.path().join("docker.sock"), updates, asked));
        let begun = tokio::time::Instant::now();
        let mut at = Vec::new();
        for _ in 0..8 {
            assert!(matches!(received.recv().await, Some(Update::Unreachable)));
            at.push(begun.elapsed().as_secs());
        }
        assert_eq!(at, [0, 1, 3, 7, 15, 31, 61, 91]);
        drop(received);
        following.await.unwrap();
    }
}
