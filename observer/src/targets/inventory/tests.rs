//! Tests of the inventory's task on a fixture tree: notifications, regular looks and what the snapshot says.
//! Docker is a file away in tests/; here its updates are given by hand.

use std::path::Path;

use super::*;
use crate::targets::{
    containers::Container,
    fixture::{Attached, Host, Recorder},
};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn settings(host: &Host, selectors: &[&str]) -> Settings {
    Settings {
        selectors: selectors.iter().map(|text| text.parse().unwrap()).collect(),
        docker_socket: None,
        proc_root: host.proc_root(),
        rescan: Duration::from_hours(1),
        ..Settings::default()
    }
}

fn inventory(host: &Host, selectors: &[&str]) -> (Inventory<Recorder>, Handle, Recorder) {
    let recorder = Recorder::default();
    let (inventory, handle) = Inventory::new(settings(host, selectors), recorder.clone()).unwrap();
    (inventory, handle, recorder)
}

fn container(name: &str, image: &str) -> Container {
    Container {
        id: ID.to_owned(),
        name: name.to_owned(),
        image: image.to_owned(),
        running: true,
        ..Container::default()
    }
}

fn counts(observed: u64, waiting: u64, failed: u64) -> StateCounts {
    StateCounts { observed, waiting, failed }
}

fn names(handle: &Handle) -> Vec<String> {
    handle.targets().iter().map(|target| target.labels.container.clone()).collect()
}

#[test]
fn a_look_attaches_and_counts_states() {
    let host = Host::new();
    host.cgroup("/a");
    host.process(5, b"0::/\n");
    let (mut inventory, handle, recorder) = inventory(&host, &["cgroup:/a", "cgroup:/later", "pid:5"]);
    assert!(!handle.ready());
    inventory.look(Instant::now());
    assert!(handle.ready());
    assert_eq!((names(&handle), handle.state_counts()), (vec!["a".to_owned()], counts(1, 1, 1)));
    host.cgroup("/later");
    inventory.look(Instant::now());
    assert_eq!(handle.state_counts(), counts(2, 0, 1));
    assert_eq!(recorder.calls(), 2);
    drop(inventory);
    assert!(recorder.attached_now().is_empty());
}

#[test]
fn the_whole_host_is_observed_only_when_asked_for() {
    let host = Host::new();
    let (mut inventory, handle, _) = inventory(&host, &["cgroup:/"]);
    inventory.look(Instant::now());
    assert_eq!((names(&handle), handle.state_counts()), (vec!["/".to_owned()], counts(1, 0, 0)));
}

#[test]
fn a_known_container_is_attached_when_its_cgroup_is_made() {
    let host = Host::new();
    let (mut inventory, _, recorder) = inventory(&host, &["container:web"]);
    let now = Instant::now();
    inventory.look(now);
    inventory.on_docker(Update::Changed(container("web", "acme/chat:1")), now);
    let cgroup = host.cgroup(&format!("/docker/{ID}"));
    let (path, id) = (cgroup.path, cgroup.id);
    inventory.on_cgroup(CgroupEvent::Created { path: path.clone(), id }, now);
    assert_eq!(recorder.attached_now(), [Attached { target: 1, cgroup: id }]);
    inventory.on_cgroup(CgroupEvent::Removed { path, id }, now);
    assert!(recorder.attached_now().is_empty());
}

#[test]
fn a_cgroup_made_before_its_container_is_known_is_asked_for_and_attached_with_the_answer() {
    let host = Host::new();
    let (mut inventory, handle, recorder) = inventory(&host, &[]);
    inventory.settings.docker_socket = Some(host.proc_root());
    let mut questions = inventory.to_docker.take().unwrap();
    let now = Instant::now();
    inventory.look(now);
    let cgroup = host.cgroup(&format!("/docker/{ID}"));
    inventory.on_cgroup(CgroupEvent::Created { path: cgroup.path, id: cgroup.id }, now);
    assert!(matches!(questions.try_recv(), Ok(Request::Describe(id)) if id == ID));
    assert_eq!(recorder.calls(), 0);
    inventory.on_docker(Update::Changed(container("web", "lobehub/lobe-chat:1")), now);
    assert_eq!(recorder.attached_now(), [Attached { target: 1, cgroup: cgroup.id }]);
    inventory.publish();
    assert_eq!(handle.targets()[0].labels.app, "lobechat");
    // Another name changes the labels alone; one that no selector matches leaves.
    inventory.on_docker(Update::Changed(container("renamed", "lobehub/lobe-chat:1")), now);
    inventory.publish();
    assert_eq!((names(&handle), recorder.calls()), (vec!["renamed".to_owned()], 1));
    inventory.on_docker(Update::Changed(container("renamed", "postgres:17")), now);
    assert!(recorder.attached_now().is_empty());
}

#[test]
fn a_container_in_a_cgroup_without_its_id_is_found_by_its_first_process() {
    let host = Host::new();
    let (mut inventory, handle, _) = inventory(&host, &["container:web"]);
    inventory.settings.docker_socket = Some(host.proc_root());
    let mut questions = inventory.to_docker.take().unwrap();
    host.cgroup("/user.slice/session/payload");
    host.process(77, b"0::/user.slice/session/payload\n");
    let now = Instant::now();
    inventory.on_docker(Update::All(vec![container("web", "acme/chat:1")]), now);
    inventory.look(now);
    inventory.look(now);
    assert!(matches!(questions.try_recv(), Ok(Request::InitProcess(id)) if id == ID));
    assert!(questions.try_recv().is_err(), "asked once");
    let answer = Container { init: Some(77), ..container("web", "acme/chat:1") };
    inventory.on_docker(Update::Changed(answer), now);
    inventory.look(now);
    assert_eq!(handle.targets()[0].cgroups[0].path, Path::new("/user.slice/session/payload"));
    assert_eq!(names(&handle), ["web"]);
}

#[test]
fn what_docker_said_holds_while_it_is_away() {
    let host = Host::new();
    host.cgroup(&format!("/docker/{ID}"));
    let (mut inventory, handle, recorder) = inventory(&host, &["container:web"]);
    let now = Instant::now();
    inventory.on_docker(Update::All(vec![container("web", "acme/chat:1")]), now);
    inventory.look(now);
    inventory.on_docker(Update::Unreachable, now);
    inventory.look(now);
    assert_eq!((names(&handle), recorder.calls()), (vec!["web".to_owned()], 1));
}

#[test]
fn an_event_of_a_cgroup_that_has_gone_is_nothing() {
    let host = Host::new();
    let (mut inventory, _, recorder) = inventory(&host, &["cgroup:/a"]);
    let path = Path::new("/a").to_owned();
    inventory.on_cgroup(CgroupEvent::Created { path: path.clone(), id: 7 }, Instant::now());
    inventory.on_cgroup(CgroupEvent::Removed { path, id: 7 }, Instant::now());
    assert_eq!(recorder.calls(), 0);
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
