//! Tells at once when the last process of a cgroup ends and when another one begins there: a restart in place takes less
//! time than lies between two looks. The kernel announces changes of `cgroup.events` (man 7 cgroups) through inotify.

use std::{
    collections::HashMap,
    io::{PipeReader, PipeWriter},
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use tokio::sync::mpsc;

use crate::cgroup::{Cgroup, Hierarchy, files::populated};

/// Bytes of events that are read at once; one has sixteen.
const BUFFER: usize = 4096;

/// A cgroup has, or has no longer, processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Populated {
    /// The cgroup's id.
    pub(super) cgroup: u64,
    /// Whether it has.
    pub(super) populated: bool,
}

/// Which cgroups are watched.
pub(super) struct Watches {
    shared: Arc<Shared>,
    /// The watch of each cgroup, by the cgroup's id; none where the kernel has no room for it.
    by_cgroup: HashMap<u64, Option<i32>>,
    /// Held for its drop, which ends the watcher.
    _alive: PipeWriter,
}

/// Reads what the kernel tells of them.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    /// Ends when the watches are dropped.
    dropped: PipeReader,
}

struct Shared {
    inotify: OwnedFd,
    /// Directory and id of the cgroup of each watch.
    watched: Mutex<HashMap<i32, (PathBuf, u64)>>,
}

impl Shared {
    fn watched(&self) -> MutexGuard<'_, HashMap<i32, (PathBuf, u64)>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two ends of a watch over cgroups.
pub(super) fn watch() -> anyhow::Result<(Watches, Watcher)> {
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).context("inotify_init1()")?;
    let shared = Arc::new(Shared { inotify, watched: Mutex::default() });
    let (dropped, alive) = std::io::pipe().context("pipe2()")?;
    let watches = Watches { shared: Arc::clone(&shared), by_cgroup: HashMap::new(), _alive: alive };
    Ok((watches, Watcher { shared, dropped }))
}

impl Watches {
    /// Watches these cgroups and no others.
    pub(super) fn set<'a>(&mut self, hierarchy: &Hierarchy, cgroups: impl Iterator<Item = &'a Cgroup>) {
        let mut left = std::mem::take(&mut self.by_cgroup);
        for cgroup in cgroups {
            let watch = left.remove(&cgroup.id).unwrap_or_else(|| self.add(hierarchy, cgroup));
            self.by_cgroup.insert(cgroup.id, watch);
        }
        for watch in left.into_values().flatten() {
            self.shared.watched().remove(&watch);
            // The kernel has taken it away itself where the cgroup is gone.
            inotify::remove_watch(&self.shared.inotify, watch).ok();
        }
    }

    fn add(&self, hierarchy: &Hierarchy, cgroup: &Cgroup) -> Option<i32> {
        let directory = hierarchy.directory(&cgroup.path)?;
        // Held meanwhile, so that an event of the new watch finds its cgroup.
        let mut watched = self.shared.watched();
        let file = directory.join("cgroup.events");
        let watch = inotify::add_watch(&self.shared.inotify, &file, WatchFlags::MODIFY)
            .inspect_err(
                |error| tracing::debug!(file = %file.display(), %error, "restarts are seen by looks alone"),
            )
            .ok()?;
        watched.insert(watch, (directory, cgroup.id));
        Some(watch)
    }
}

impl Watcher {
    /// Tells of changes until the watches are dropped or nobody listens. Blocks: for a thread of its own.
    pub(super) fn run(self, changes: &mpsc::Sender<Populated>) -> anyhow::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        loop {
            let mut ready =
                [PollFd::new(&self.shared.inotify, PollFlags::IN), PollFd::new(&self.dropped, PollFlags::IN)];
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("poll()"),
            }
            if !ready[1].revents().is_empty() || changes.is_closed() {
                return Ok(());
            }
            let mut reader = inotify::Reader::new(&self.shared.inotify, &mut buffer);
            loop {
                let watch = match reader.next() {
                    Ok(event) if event.events().contains(ReadFlags::MODIFY) => event.wd(),
                    Ok(_) | Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Err(error).context("read() of inotify"),
                };
                let Some((directory, cgroup)) = self.shared.watched().get(&watch).cloned() else { continue };
                let Ok(Some(populated)) = populated(&directory) else { continue };
                // What does not fit is seen by the next look.
                changes.try_send(Populated { cgroup, populated }).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::targets::fixture::Host;

    #[tokio::test]
    async fn each_change_of_a_watched_cgroup_is_told_at_once() {
        let host = Host::new();
        let (one, two) = (host.cgroup("/one"), host.cgroup("/two"));
        let (mut watches, reader) = watch().unwrap();
        watches.set(&host.hierarchy(), [&one, &two].into_iter());
        watches.set(&host.hierarchy(), [&one, &two].into_iter());
        let (sender, mut changes) = mpsc::channel(8);
        let running = std::thread::spawn(move || reader.run(&sender));
        let mut next = async || {
            let change = tokio::time::timeout(Duration::from_secs(20), changes.recv()).await;
            change.unwrap().unwrap()
        };
        // Written anew, a file is emptied first, which is a change of its own: the last word counts.
        for (path, cgroup, populated) in
            [("/one", one.id, false), ("/two", two.id, false), ("/one", one.id, true)]
        {
            host.populate(path, populated);
            while next().await != (Populated { cgroup, populated }) {}
        }
        watches.set(&host.hierarchy(), [&two].into_iter());
        // Events come in their order: behind this one there is none from before.
        host.populate("/two", true);
        while next().await != (Populated { cgroup: two.id, populated: true }) {}
        host.populate("/one", false);
        host.populate("/two", false);
        loop {
            let told = next().await;
            assert_eq!(told.cgroup, two.id, "no longer watched");
            if !told.populated {
                break;
            }
        }
        assert_eq!(host.hierarchy().populated(Path::new("/one")).unwrap(), Some(false));
        drop(watches);
        running.join().unwrap().unwrap();
    }
}
