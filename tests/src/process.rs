//! A program in the background: its output is read as it comes, and it never outlives its owner.
//! Signals go to its own pid only.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// How long a test waits for anything that is bound to happen, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long a program may take to end after SIGTERM before it is killed.
const TERMINATE_WITHIN: Duration = Duration::from_secs(5);

/// How often the end of a program is looked for; `wait` has no time limit of its own.
const POLL: Duration = Duration::from_millis(5);

/// What a program wrote so far, by line, both outputs in the order of arrival.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running program; it is killed when this is dropped.
pub struct Background {
    name: String,
    child: Child,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
}

/// How a program ended, and all that it wrote.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Both outputs in the order of arrival.
    pub output: String,
}

impl Background {
    /// Starts `command`, in a process group of its own so that Ctrl-C reaches only the starter.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let log = Arc::new(Log::default());
        let stdout = child.stdout.take().map(|stdout| follow(stdout, Arc::clone(&log)));
        let stderr = child.stderr.take().map(|stderr| follow(stderr, Arc::clone(&log)));
        let readers = stdout.into_iter().chain(stderr).collect();
        Ok(Self { name, child, log, readers })
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it wrote so far.
    pub fn output(&self) -> String {
        self.log.lines().join("\n")
    }

    /// The first non-empty answer of `find` over its lines, waited for at most `limit`.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            let lines = self.log.lines();
            if let Some(found) = lines.iter().find_map(|line| find(line)) {
                return Ok(found);
            }
            drop(self.log.grown.wait_timeout(lines, Duration::from_millis(50)));
            if let Some(status) = self.exited()? {
                bail!("{} ended ({status}) without {what}; it wrote:\n{}", self.name, self.output());
            }
            if Instant::now() > deadline {
                bail!("{} gave no {what} within {limit:?}; it wrote:\n{}", self.name, self.output());
            }
        }
    }

    /// Its exit status, if it has ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Sends it `signal`.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("the pid is out of range")?;
        kill_process(pid, signal).with_context(|| format!("cannot send {signal:?} to {}", self.name))
    }

    /// Waits at most `limit` for its end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} did not end within {limit:?}; it wrote:\n{}", self.name, self.output());
            }
            thread::sleep(POLL);
        }
    }

    /// Waits at most `limit` for its end and for the last of its output.
    pub fn finish(mut self, limit: Duration) -> Result<Ended> {
        let status = self.wait(limit)?;
        for reader in self.readers.drain(..) {
            // A panic in it has been printed; what it read before is in the log.
            let _ = reader.join();
        }
        Ok(Ended { status, output: self.output() })
    }

    /// Asks it to end by SIGTERM; how it ended. One that does not end is killed, and that is an error.
    pub fn stop(mut self) -> Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        self.wait(TERMINATE_WITHIN)
    }

    /// Asks it to end by SIGTERM; how it ended, and all that it wrote until then.
    pub fn stop_and_read(mut self) -> Result<Ended> {
        if self.exited()?.is_none() {
            self.signal(Signal::TERM)?;
        }
        self.finish(TERMINATE_WITHIN)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Both fail only where it has ended and been waited for, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether this process is root, which making cgroups and loading programs needs.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Lets this thread run as soon as it can, whoever else would like to: then its clock tells when something happened, and not
/// when it was its turn to see it. What it starts, threads and processes, has to wait like all others.
pub fn be_urgent() -> Result<()> {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let arguments = ["--reset-on-fork", "--fifo", "--pid", "1", &thread];
    let changed =
        Command::new("chrt").args(arguments).output().context("cannot start chrt, of util-linux")?;
    ensure!(changed.status.success(), "chrt failed: {}", String::from_utf8_lossy(&changed.stderr));
    Ok(())
}

/// Lets this process open as many files as it may; the soft limit is 1024 on most hosts.
pub fn raise_file_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("cannot raise the limit of open files")
}

/// A program of this package, built beside the one that runs; a test runs in the folder `deps` beside it.
pub fn own_program(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find the path of this program")?;
    let folder = own.parent().context("this program is in no folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.join(name))
}

/// Reads `output` to its end in a thread of its own, so that a full pipe never stops the program.
fn follow(output: impl Read + Send + 'static, log: Arc<Log>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            log.lines().push(String::from_utf8_lossy(&line).trim_end().to_owned());
            log.grown.notify_all();
            line.clear();
        }
    })
}

/// Waits until `condition` holds; an error after `limit` says `what` was waited for.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !condition()? {
        if Instant::now() > deadline {
            bail!("waited {limit:?} in vain until {what}");
        }
        thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Background {
        Background::start(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn a_line_is_waited_for_and_the_program_stopped_by_signal() {
        let mut program = shell("echo ready 42 >&2; exec sleep 100");
        let limit = Duration::from_secs(10);
        let number = program.wait_for("number", limit, |line| line.strip_prefix("ready ").map(str::to_owned));
        assert_eq!(number.unwrap(), "42");
        let status = program.stop().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    }

    #[test]
    fn the_end_of_the_program_ends_the_wait_and_shows_what_it_wrote() {
        let error = shell("echo broken; exit 3")
            .wait_for("line", Duration::from_secs(10), |_| None::<()>)
            .unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }
}
