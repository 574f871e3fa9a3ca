//! Tests of the inventory's task on a fixture tree: notifications, regular looks and what the snapshot says.
//! Beside the real sources runs one that says what the test gives it, as any further source would.

use std::path::Path;

use futures_util::future::BoxFuture;

use super::*;
use crate::targets::{
    Info,
    fixture::{Attached, Host, Recorder},
    source::{Changes, Kind, Place, Workload},
    sources,
};

mod hostile;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A source of which nothing else knows, as podman or Kubernetes will be.
struct Scripted {
    name: &'static str,
    says: mpsc::UnboundedReceiver<Change>,
    asked: mpsc::UnboundedSender<Question>,
}

impl Source for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(
        mut self: Box<Self>,
        changes: Changes,
        mut questions: mpsc::Receiver<Question>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                tokio::select! {
                    says = self.says.recv() => match says {
                        Some(change) => if changes.send(change).await.is_err() { return },
                        // It hangs.
                        None => return std::future::pending().await,
                    },
                    Some(question) = questions.recv() => drop(self.asked.send(question)),
                }
            }
        })
    }
}

/// The test's end of a scripted source.
struct Script {
    says: mpsc::UnboundedSender<Change>,
    asked: mpsc::UnboundedReceiver<Question>,
}

fn scripted(name: &'static str) -> (Box<dyn Source>, Script) {
    let (says, to_source) = mpsc::unbounded_channel();
    let (from_source, asked) = mpsc::unbounded_channel();
    (Box::new(Scripted { name, says: to_source, asked: from_source }), Script { says, asked })
}

impl Script {
    fn say(&self, change: Change) {
        self.says.send(change).unwrap();
    }

    /// The next question but [`Question::LookAgain`].
    async fn question(&mut self) -> Question {
        loop {
            let asked = time::timeout(Duration::from_secs(20), self.asked.recv()).await;
            match asked.unwrap().unwrap() {
                Question::LookAgain => {}
                question => return question,
            }
        }
    }
}

fn settings(host: &Host, selectors: &[&str]) -> Settings {
    Settings {
        selectors: selectors.iter().map(|text| text.parse().unwrap()).collect(),
        docker_socket: None,
        proc_root: host.proc_root(),
        rescan: Duration::from_hours(1),
        ..Settings::default()
    }
}

/// A running inventory.
struct Case {
    host: Host,
    handle: Handle,
    recorder: Recorder,
    events: mpsc::Sender<CgroupEvent>,
    running: tokio::task::JoinHandle<()>,
}

impl Case {
    /// With the real sources and these beside them.
    fn start(host: Host, settings: Settings, beside: Vec<Box<dyn Source>>) -> Self {
        let hierarchy = host.hierarchy();
        let mut all = beside;
        all.extend(sources::all(&settings, &hierarchy));
        let world = World::of(&settings, hierarchy, &all).unwrap();
        let recorder = Recorder::default();
        let (inventory, handle) = Inventory::of(settings, recorder.clone(), world, all);
        let (events, received) = mpsc::channel(64);
        let running = tokio::spawn(inventory.run(received, std::future::pending()));
        Self { host, handle, recorder, events, running }
    }

    /// With one scripted source, which has told of these workloads.
    async fn with(host: Host, selectors: &[&str], workloads: Vec<Workload>) -> (Self, Script) {
        let (source, script) = scripted("test");
        script.say(Change::Snapshot(workloads));
        let settings = settings(&host, selectors);
        let case = Self::start(host, settings, vec![source]);
        until("the first look", || case.handle.ready()).await;
        (case, script)
    }

    fn names(&self) -> Vec<String> {
        names(&self.handle)
    }

    async fn created(&self, cgroup: &Cgroup) {
        let (path, id) = (cgroup.path.clone(), cgroup.id);
        self.events.send(CgroupEvent::Created { path, id }).await.unwrap();
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn container(name: &str, image: &str) -> Workload {
    Workload {
        id: ID.to_owned(),
        name: name.to_owned(),
        kind: Kind::Container,
        info: Info { image: image.to_owned(), ..Info::default() },
        running: true,
        ..Workload::default()
    }
}

fn counts(observed: u64, waiting: u64, failed: u64) -> StateCounts {
    StateCounts { observed, waiting, failed }
}

fn names(handle: &Handle) -> Vec<String> {
    handle.targets().iter().map(|target| target.labels.container.clone()).collect()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = time::timeout(Duration::from_secs(20), async {
        while !condition() {
            time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_attaches_and_tells_what_waits_since_when() {
    let host = Host::new();
    host.cgroup("/a");
    host.process(5, b"0::/\n");
    let before = SystemTime::now();
    let (case, _script) = Case::with(host, &["cgroup:/a", "cgroup:/later", "pid:5"], Vec::new()).await;
    assert_eq!((case.names(), case.handle.state_counts()), (vec!["a".to_owned()], counts(1, 1, 1)));
    let waiting = case.handle.waiting();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].selector, "cgroup:/later");
    assert!(waiting[0].since >= before);
    case.created(&case.host.cgroup("/later")).await;
    until("/later", || case.handle.state_counts() == counts(2, 0, 1)).await;
    assert!(case.handle.waiting().is_empty());
    assert_eq!(case.recorder.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_host_is_observed_only_when_asked_for() {
    let (case, _script) = Case::with(Host::new(), &["cgroup:/"], Vec::new()).await;
    assert_eq!((case.names(), case.handle.state_counts()), (vec!["/".to_owned()], counts(1, 0, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_container_is_attached_when_its_cgroup_is_made() {
    let known = vec![Workload { running: false, ..container("web", "acme/chat:1") }];
    let (case, _script) = Case::with(Host::new(), &["container:web"], known).await;
    let cgroup = case.host.cgroup(&format!("/docker/{ID}"));
    case.created(&cgroup).await;
    until("attached", || !case.recorder.attached_now().is_empty()).await;
    assert_eq!(case.recorder.attached_now(), [Attached { target: 1, cgroup: cgroup.id }]);
    let (path, id) = (cgroup.path, cgroup.id);
    case.events.send(CgroupEvent::Removed { path, id }).await.unwrap();
    until("detached", || case.recorder.attached_now().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cgroup_made_before_its_container_is_known_is_asked_for_and_attached_with_the_answer() {
    let (case, mut script) = Case::with(Host::new(), &[], Vec::new()).await;
    let cgroup = case.host.cgroup(&format!("/docker/{ID}"));
    case.created(&cgroup).await;
    assert_eq!(script.question().await, Question::WhatIs(cgroup.clone()));
    assert_eq!(case.recorder.calls(), 0);
    script.say(Change::Upsert(container("web", "lobehub/lobe-chat:1")));
    until("attached", || case.names() == ["web"]).await;
    assert_eq!(case.recorder.attached_now(), [Attached { target: 1, cgroup: cgroup.id }]);
    assert_eq!(case.handle.targets()[0].labels.app, "lobechat");
    // Another name and another app change the labels alone; one that no selector matches leaves.
    script.say(Change::Upsert(container("renamed", "open-webui/open-webui:1")));
    until("renamed", || case.names() == ["renamed"]).await;
    let target = case.handle.targets()[0].clone();
    assert_eq!((target.id, target.labels.app.as_str()), (1, "openwebui"));
    assert_eq!(case.recorder.calls(), 1);
    script.say(Change::Upsert(container("renamed", "postgres:17")));
    until("left", || case.recorder.attached_now().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_in_a_cgroup_without_its_id_is_found_by_its_first_process() {
    let host = Host::new();
    host.cgroup("/user.slice/session/payload");
    host.process(77, b"0::/user.slice/session/payload\n");
    let known = vec![container("web", "acme/chat:1")];
    let (case, mut script) = Case::with(host, &["container:web"], known).await;
    assert_eq!(script.question().await, Question::WhereIs(ID.to_owned()));
    let place = Place::NamedById { first_process: Some(77) };
    script.say(Change::Upsert(Workload { place, ..container("web", "acme/chat:1") }));
    until("attached", || case.names() == ["web"]).await;
    assert_eq!(case.handle.targets()[0].cgroups[0].path, Path::new("/user.slice/session/payload"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_said_holds_while_it_is_away_and_none_erases_another_s() {
    let host = Host::new();
    host.cgroup(&format!("/docker/{ID}"));
    let (one, first) = scripted("one");
    let (two, second) = scripted("two");
    first.say(Change::Snapshot(vec![container("web", "acme/chat:1")]));
    second.say(Change::Snapshot(Vec::new()));
    let settings = settings(&host, &["container:web", "container:last"]);
    let case = Case::start(host, settings, vec![one, two]);
    until("attached", || case.names() == ["web"]).await;
    first.say(Change::Unreachable("it is away".to_owned()));
    for change in [Change::Gone(ID.to_owned()), Change::Stopped(ID.to_owned()), Change::Snapshot(Vec::new())]
    {
        second.say(change);
    }
    let cgroup = case.host.cgroup("/last");
    let place = Place::Cgroup(cgroup.path);
    second.say(Change::Upsert(Workload { id: "last".to_owned(), place, ..container("last", "a") }));
    until("all was heard", || case.names() == ["web", "last"]).await;
    case.events.send(CgroupEvent::Missed).await.unwrap();
    time::sleep(SETTLE * 3).await;
    assert_eq!((case.names(), case.recorder.calls()), (vec!["web".to_owned(), "last".to_owned()], 2));
    first.say(Change::Snapshot(Vec::new()));
    until("gone by its own source's word", || case.recorder.attached_now().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_cgroup_that_has_gone_is_nothing() {
    let (case, _script) = Case::with(Host::new(), &["cgroup:/a"], Vec::new()).await;
    let path = Path::new("/a").to_owned();
    case.events.send(CgroupEvent::Created { path: path.clone(), id: 7 }).await.unwrap();
    case.events.send(CgroupEvent::Removed { path, id: 7 }).await.unwrap();
    case.created(&case.host.cgroup("/a")).await;
    until("the one that is there", || case.names() == ["a"]).await;
    assert_eq!(case.recorder.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_place_is_counted_between_two_looks() {
    let host = Host::new();
    host.cgroup("/a");
    let (case, _script) = Case::with(host, &["cgroup:/a"], Vec::new()).await;
    for restart in 1..=6 {
        case.host.populate("/a", false);
        time::sleep(Duration::from_millis(50)).await;
        case.host.populate("/a", true);
        until("counted", || case.handle.targets()[0].restarts == restart).await;
    }
}

fn inventory(host: &Host, selectors: &[&str]) -> (Inventory<Recorder>, Handle, Recorder) {
    let recorder = Recorder::default();
    let (inventory, handle) = Inventory::new(settings(host, selectors), recorder.clone()).unwrap();
    (inventory, handle, recorder)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_follows_events_and_detaches_on_shutdown() {
    let host = Host::new();
    host.cgroup("/a");
    let (inventory, handle, recorder) = inventory(&host, &["cgroup:/a", "cgroup:/b", "cgroup:/c"]);
    let (events, received) = mpsc::channel(8);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(inventory.run(received, async move { stopped.await.unwrap_or_default() }));
    until("the first look", || handle.ready()).await;
    assert_eq!(names(&handle), ["a"]);
    // The next regular look is an hour away: this is the event's doing.
    let cgroup = host.cgroup("/b");
    events.send(CgroupEvent::Created { path: cgroup.path, id: cgroup.id }).await.unwrap();
    until("b by its event", || handle.targets().len() == 2).await;
    host.cgroup("/c");
    events.send(CgroupEvent::Missed).await.unwrap();
    until("c after a missed event", || handle.targets().len() == 3).await;
    stop.send(()).unwrap();
    running.await.unwrap();
    assert!(recorder.attached_now().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_events_everything_is_looked_at_once_a_second() {
    let host = Host::new();
    let (inventory, handle, _) = inventory(&host, &["cgroup:/a"]);
    let (events, received) = mpsc::channel(8);
    let running = tokio::spawn(inventory.run(received, std::future::pending()));
    until("the first look", || handle.ready()).await;
    host.cgroup("/a");
    drop(events);
    until("a without an event", || handle.targets().len() == 1).await;
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_that_is_not_there_keeps_nothing_waiting() {
    let host = Host::new();
    host.cgroup("/a");
    let docker_socket = Some(host.proc_root().join("docker.sock"));
    let settings = Settings { docker_socket, ..settings(&host, &["cgroup:/a", "container:web"]) };
    let (inventory, handle) = Inventory::new(settings, Recorder::default()).unwrap();
    let (_events, received) = mpsc::channel(8);
    let running = tokio::spawn(inventory.run(received, std::future::pending()));
    until("the first look", || handle.ready()).await;
    assert_eq!((names(&handle), handle.state_counts()), (vec!["a".to_owned()], counts(1, 1, 0)));
    running.abort();
}
