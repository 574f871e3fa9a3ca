//! A cgroup v2 of a test's own: made with a name that nobody has, removed with everything in it.
//! A process enters it before it opens its first socket.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// How long the kernel may take to empty a cgroup whose processes were killed.
const EMPTY_WITHIN: Duration = Duration::from_secs(2);

/// Counts the cgroups that this process made, for their names.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A cgroup; dropping it kills what is still inside and removes it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    name: String,
}

impl Cgroup {
    /// A new one below the root, named `<prefix>-<pid>-<n>`.
    pub fn create(prefix: &str) -> Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Self::named(format!("{prefix}-{}-{number}", std::process::id()))
    }

    /// A new one with this path below the root; fails where there is one already.
    pub fn named(name: String) -> Result<Self> {
        let path = root()?.join(&name);
        fs::create_dir(&path)
            .with_context(|| format!("cannot create cgroup {} (root needed)", path.display()))?;
        Ok(Self { path, name })
    }

    /// A new one inside this one, which is to be dropped before it.
    pub fn child(&self, name: &str) -> Result<Self> {
        Self::named(format!("{}/{name}", self.name))
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The selector that names it on the agent's command line.
    pub fn selector(&self) -> String {
        format!("cgroup:/{}", self.name)
    }

    /// A command that runs `program` inside: the shell moves itself, then becomes the program with the same pid.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"echo $$ >"$0/cgroup.procs" && exec "$@""#])
            .arg(&self.path)
            .arg(program.as_ref());
        command
    }

    /// Ids of the processes inside.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let file = self.path.join("cgroup.procs");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Kills what is inside and removes it.
    fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + EMPTY_WITHIN;
        loop {
            for pid in self.processes()?.into_iter().filter_map(Pid::from_raw) {
                // It may have ended since the file was read.
                let _ = kill_process(pid, Signal::KILL);
            }
            match fs::remove_dir(&self.path) {
                Err(error) if Instant::now() < deadline => {
                    drop(error);
                    thread::sleep(Duration::from_millis(5));
                }
                result => {
                    return result.with_context(|| format!("cannot remove cgroup {}", self.path.display()));
                }
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("error: {error:#}");
        }
    }
}

/// Groups of one name in every cgroup v1 hierarchy that counts something, as container runtimes make them beside the
/// v2 one; none on a host that has v2 only.
#[derive(Debug)]
pub struct Companions(Vec<Cgroup>);

impl Companions {
    /// Makes them for `cgroup` and moves the process `pid` into them.
    pub fn of(cgroup: &Cgroup, pid: u32) -> Result<Self> {
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
        let mut companions = Self(Vec::new());
        for mount in controllers(&mounts) {
            let path = mount.join(&cgroup.name);
            match fs::create_dir(&path) {
                // Two controllers may be mounted as one, under two names.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                result => result.with_context(|| format!("cannot create cgroup {}", path.display()))?,
            }
            fs::write(path.join("cgroup.procs"), pid.to_string())
                .with_context(|| format!("cannot move a process into {}", path.display()))?;
            companions.0.push(Cgroup { path, name: cgroup.name.clone() });
        }
        Ok(companions)
    }
}

/// Where the cgroup v1 controllers are mounted of which the agent reads figures.
fn controllers(mounts: &str) -> Vec<PathBuf> {
    let controller = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = kind.split(' ');
        (fields.next() == Some("cgroup")).then_some(())?;
        let counting = ["cpu", "cpuacct", "memory", "pids", "blkio"];
        let mut options = fields.next_back()?.split(',');
        options.any(|option| counting.contains(&option)).then_some(())?;
        mount.split(' ').nth(4).map(PathBuf::from)
    };
    mounts.lines().filter_map(controller).collect()
}

/// Where this host mounts cgroup v2.
pub fn root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    find_root(&mounts).context("no cgroup v2 is mounted here (no `cgroup2` in /proc/self/mountinfo)")
}

/// The mount point of the first `cgroup2` in mountinfo: field 5, the type after the lone `-` (`man 5 proc_pid_mountinfo`).
fn find_root(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then_some(())?;
        mount.split(' ').nth(4).map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v2_root_is_found_on_hybrid_and_unified_hosts() {
        let hybrid = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(find_root(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(find_root(unified), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(controllers(hybrid), [PathBuf::from("/sys/fs/cgroup/cpu")]);
        assert_eq!(controllers(unified), Vec::<PathBuf>::new());
        assert_eq!(find_root("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
    }
}
