//! Targets from a real Docker: a daemon of the test's own, in a network namespace and on a socket of its own.
//! Nothing is loaded into the kernel: an attacher that remembers stands for the kernel half.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail, ensure};
use observer::{
    cgroup::{Cgroup, Hierarchy},
    targets::{
        Attacher, CgroupEvent, Handle, Inventory, Settings, Target, TargetId, TargetList as _, explain,
    },
};
use tests::docker::{Daemon, wait_until};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// Remembers when it attached to which cgroup.
#[derive(Clone, Default)]
struct Recorder {
    attached: Arc<Mutex<Vec<(PathBuf, SystemTime)>>>,
}

impl Recorder {
    fn when(&self, path: &Path) -> Option<SystemTime> {
        let attached = self.attached.lock().ok()?;
        attached.iter().find(|(attached, _)| attached == path).map(|(_, when)| *when)
    }
}

impl Attacher for Recorder {
    type Attachment = ();

    fn attach(&self, _: TargetId, cgroup: &Cgroup) -> anyhow::Result<()> {
        let Ok(mut attached) = self.attached.lock() else { bail!("poisoned") };
        attached.push((cgroup.path.clone(), SystemTime::now()));
        Ok(())
    }

    fn forget(&self, _: TargetId) {}
}

/// An inventory at work. Without a sender of events it looks around once a second.
struct Watch {
    handle: Handle,
    recorder: Recorder,
    events: Option<mpsc::Sender<CgroupEvent>>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Watch {
    fn start(daemon: &Daemon, selectors: &[&str], rescan: Duration) -> anyhow::Result<Self> {
        let settings = settings(daemon, selectors, rescan)?;
        let recorder = Recorder::default();
        let (inventory, handle) = Inventory::new(settings, recorder.clone())?;
        let (events, received) = mpsc::channel(64);
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(inventory.run(received, async move { stopped.await.unwrap_or_default() }));
        wait_until("the first look", || handle.ready())?;
        Ok(Self { handle, recorder, events: Some(events), stop, running })
    }

    fn target(&self, container: &str) -> Option<Target> {
        self.handle.targets().iter().find(|target| target.labels.container == container).cloned()
    }

    /// Waits until the target is as it should be, and returns it.
    fn until(
        &self,
        container: &str,
        what: &str,
        as_wanted: impl Fn(&Target) -> bool,
    ) -> anyhow::Result<Target> {
        wait_until(what, || self.target(container).is_some_and(|target| as_wanted(&target)))?;
        self.target(container).context("the target is there")
    }

    async fn stop(self) -> anyhow::Result<()> {
        ensure!(self.stop.send(()).is_ok(), "the inventory has ended by itself");
        self.running.await?;
        Ok(())
    }
}

fn settings(daemon: &Daemon, selectors: &[&str], rescan: Duration) -> anyhow::Result<Settings> {
    Ok(Settings {
        selectors: selectors.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
        docker_socket: Some(daemon.socket()),
        rescan,
        ..Settings::default()
    })
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread")]
async fn containers_come_go_return_and_are_named() -> anyhow::Result<()> {
    let mut daemon = Daemon::start()?;
    daemon.import_shell("lobehub/lobe-chat:1.143.3")?;
    daemon.import_shell("acme/other:1")?;
    daemon.docker(&["run", "-d", "--name", "before", "lobehub/lobe-chat:1.143.3"])?;
    daemon.docker(&["run", "-d", "--name", "other", "acme/other:1"])?;
    let mut watch = Watch::start(&daemon, &[], HOUR)?;
    let id = daemon.docker(&["inspect", "-f", "{{.Id}}", "before"])?;
    let digest = daemon.docker(&["inspect", "-f", "{{.Image}}", "before"])?;

    let before = watch.until("before", "it is attached", |target| target.cgroups.len() == 1)?;
    assert_eq!(before.labels.app, "lobechat");
    assert_eq!(before.info.image, "lobehub/lobe-chat:1.143.3");
    assert_eq!(before.info.image_digest, digest);
    assert_eq!(before.info.container_id, id[..12]);
    assert_eq!((before.info.runtime.as_str(), before.info.version.as_str()), ("docker", "2.4.1-label"));
    assert!(before.cgroups[0].path.display().to_string().contains(&id));
    assert!(watch.target("other").is_none(), "its image is of no known app");

    // No events of cgroups from here on, and a look each second: what a host without the tracepoint has.
    watch.events = None;
    daemon.docker(&["run", "-d", "--name", "after", "lobehub/lobe-chat:1.143.3"])?;
    watch.until("after", "it is attached", |target| target.cgroups.len() == 1)?;
    daemon.docker(&["restart", "-t", "0", "before"])?;
    let returned = watch.until("before", "it is back", |target| target.restarts == 1)?;
    assert_eq!((returned.id, returned.cgroups.len()), (before.id, 1));
    assert_ne!(returned.cgroups[0].id, before.cgroups[0].id);

    daemon.docker(&["rm", "-f", "before"])?;
    watch.until("before", "it is detached and lingers", |target| target.cgroups.is_empty())?;
    daemon.docker(&["run", "-d", "--name", "before", "lobehub/lobe-chat:1.143.3"])?;
    let again = watch.until("before", "a new container has its name", |target| target.restarts == 2)?;
    assert_eq!(again.id, before.id);
    let after = watch.target("after").context("it is there")?;
    daemon.docker(&["rename", "after", "renamed"])?;
    let renamed = watch.until("renamed", "its new name is known", |target| target.cgroups.len() == 1)?;
    assert_eq!((renamed.id, renamed.restarts, &renamed.cgroups), (after.id, 0, &after.cgroups));
    assert!(watch.target("after").is_none(), "a name is no target");

    let selectors = ["container:ren*", "image:acme/*", "container:none"];
    let text = explain(settings(&daemon, &selectors, HOUR)?, |_| Vec::new()).await?;
    assert!(text.contains("3 containers") && text.contains("\n  renamed (app lobechat) in /"), "{text}");
    assert!(text.contains("\n  other in /") && text.contains("container:none\n  waiting:"), "{text}");

    // Docker dies and comes back: nothing is lost meanwhile, and its containers are found again.
    daemon.end()?;
    std::thread::sleep(Duration::from_millis(1500));
    assert!(watch.target("before").is_some());
    daemon.start_again()?;
    daemon.docker(&["run", "-d", "--name", "last", "lobehub/lobe-chat:1.143.3"])?;
    watch.until("last", "it is attached", |target| target.cgroups.len() == 1)?;
    watch.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_attached_before_its_first_process_runs() -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    daemon.import_shell("acme/chat:2.4.1")?;
    // Makes the parent of all containers' cgroups, which the test watches in the tracepoint's stead.
    daemon.docker(&["run", "--rm", "acme/chat:2.4.1", "sh", "-c", "true"])?;
    let watch = Watch::start(&daemon, &["container:web-*"], HOUR)?;
    let events = watch.events.clone().context("events are open")?;
    let hierarchy = Hierarchy::find(Path::new("/proc"))?;
    let parent = hierarchy.directory(Path::new("/docker")).context("the whole hierarchy is mounted")?;
    let shared = daemon.directory().join("shared");
    fs::create_dir(&shared)?;
    for round in 0..5 {
        let volume = format!("{}:/shared", shared.display());
        let name = format!("web-{round}");
        let script = format!("echo > /shared/{round}; sleep 1000");
        let id = daemon.docker(&[
            "create",
            "--name",
            &name,
            "-v",
            &volume,
            "acme/chat:2.4.1",
            "sh",
            "-c",
            &script,
        ])?;
        let path = Path::new("/docker").join(&id);
        let (parent, hierarchy, events) = (parent.clone(), hierarchy.clone(), events.clone());
        let made = path.clone();
        let notifier = std::thread::spawn(move || -> anyhow::Result<()> {
            wait_until("its cgroup is made", || parent.join(&id).exists())?;
            let Cgroup { path, id } = hierarchy.get(&made).context("the cgroup stays")?;
            events.blocking_send(CgroupEvent::Created { path, id }).context("the inventory runs")
        });
        daemon.docker(&["start", &name])?;
        let Ok(outcome) = notifier.join() else { bail!("the notifier panicked") };
        outcome?;
        let first_act = shared.join(round.to_string());
        wait_until("its process has acted", || first_act.exists())?;
        wait_until("it is attached", || watch.recorder.when(&path).is_some())?;
        let attached = watch.recorder.when(&path).context("attached")?;
        let first_write = fs::metadata(&first_act)?.modified()?;
        let ahead = first_write.duration_since(attached).context("attached only after its process ran")?;
        println!("attached {ahead:?} before the first act of {name}");
    }
    watch.stop().await
}
