//! What is made from files, made again when they change: certificates, tokens, users.
//! Looked at when it is used, at most once a second; what cannot be read leaves the last that could.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::thread::Outside;

/// How often files are looked at, at most.
const EVERY: Duration = Duration::from_secs(1);

/// What changes of a file when it is written or replaced: device, number, time of change, size. None: it is not there.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

type Load<T> = Box<dyn Fn() -> anyhow::Result<T> + Send + Sync>;

/// A value and the files that it is made from.
pub(super) struct Reloaded<T> {
    /// Where files are read: the threads that serve may open nothing.
    outside: Outside,
    files: Vec<PathBuf>,
    load: Load<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    made_from: Vec<Stamp>,
    /// The files as they were when they last could not be read.
    failed: Option<Vec<Stamp>>,
    looked: Instant,
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Makes it for the first time; to be called on the runtime that files are to be read on.
    pub(super) fn new(
        files: Vec<PathBuf>,
        load: impl Fn() -> anyhow::Result<T> + Send + Sync + 'static,
    ) -> anyhow::Result<Arc<Self>> {
        // Before they are read: a change in the meantime is then seen as one.
        let made_from = stamps(&files);
        let value = Arc::new(load()?);
        let state = State { value, made_from, failed: None, looked: Instant::now() };
        Ok(Arc::new(Self { outside: Outside::here(), files, load: Box::new(load), state: Mutex::new(state) }))
    }

    /// The value as the files have it now, or had a second ago.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<T> {
        {
            let mut state = self.state();
            if state.looked.elapsed() < EVERY {
                return Arc::clone(&state.value);
            }
            state.looked = Instant::now();
        }
        let this = Arc::clone(self);
        if let Err(error) = self.outside.run(move || this.look()).await {
            tracing::error!(%error, "looking for changed files of the server failed, which is a bug");
        }
        Arc::clone(&self.state().value)
    }

    fn look(&self) {
        let now = stamps(&self.files);
        if now == self.state().made_from {
            return;
        }
        match (self.load)() {
            Ok(value) => {
                tracing::info!(files = ?self.files, "files of the server have changed, and are read again");
                let mut state = self.state();
                (state.value, state.made_from, state.failed) = (Arc::new(value), now, None);
            }
            // It may be half of a change: tried again, and said once.
            Err(error) => {
                let failed = Some(now);
                if self.state().failed != failed {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "files of the server have changed and are of no use; the last good ones hold until that is mended"
                    );
                    self.state().failed = failed;
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let seen = fs::metadata(file).ok()?;
        Some((seen.dev(), seen.ino(), seen.mtime(), seen.mtime_nsec(), seen.size()))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    async fn after_a_look(number: &Arc<Reloaded<u32>>) -> u32 {
        number.state().looked -= EVERY;
        *number.current().await
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_a_bad_one_leaves_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        fs::write(&file, "1").unwrap();
        let read = file.clone();
        let load = move || fs::read_to_string(&read)?.parse().context("no number");
        let number = Reloaded::<u32>::new(vec![file.clone()], load).unwrap();
        assert_eq!(after_a_look(&number).await, 1);
        fs::write(&file, "22").unwrap();
        assert_eq!(*number.current().await, 1, "it looks more often than once a second");
        assert_eq!(after_a_look(&number).await, 22);
        fs::write(&file, "none").unwrap();
        assert_eq!(after_a_look(&number).await, 22);
        fs::remove_file(&file).unwrap();
        assert_eq!(after_a_look(&number).await, 22);
        // Replaced, as Kubernetes does it with its links.
        fs::write(folder.path().join("next"), "333").unwrap();
        std::os::unix::fs::symlink("next", &file).unwrap();
        assert_eq!(after_a_look(&number).await, 333);
        assert!(Reloaded::<u32>::new(vec![], || anyhow::bail!("no")).is_err());
    }
}
