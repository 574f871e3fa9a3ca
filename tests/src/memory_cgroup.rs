//! A cgroup with a memory limit for one program: of v1 where the host has its memory controller there, else of v2.
//! What the kernel says of it tells whether the OOM killer came.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::cgroup;

/// How long the kernel may take to empty it.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// Names of the files.
#[derive(Debug)]
struct Files {
    limit: &'static str,
    usage: &'static str,
    peak: &'static str,
    events: &'static str,
}

const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    peak: "memory.max_usage_in_bytes",
    events: "memory.oom_control",
};

const V2: Files =
    Files { limit: "memory.max", usage: "memory.current", peak: "memory.peak", events: "memory.events" };

/// A cgroup with a limit, removed when dropped; what it held must have ended before.
#[derive(Debug)]
pub struct MemoryCgroup {
    path: PathBuf,
    files: &'static Files,
}

impl MemoryCgroup {
    /// A new one with a limit in bytes; `None` where this host has no memory controller that can be used.
    pub fn create(limit: u64) -> Result<Option<Self>> {
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
        let (parent, files) = match v1_mount(&mounts) {
            Some(mount) => (mount, &V1),
            None => (cgroup::root()?, &V2),
        };
        let path = parent.join(format!("observer-memory-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {} (root needed)", path.display()))?;
        let created = Self { path, files };
        if !created.file(files.limit).exists() {
            return Ok(None);
        }
        fs::write(created.file(files.limit), limit.to_string()).context("cannot set a memory limit")?;
        Ok(Some(created))
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

    /// Bytes charged to it now.
    pub fn usage(&self) -> Result<u64> {
        self.number(self.files.usage)
    }

    /// The most bytes that were ever charged to it at once; `None` on kernels that do not say.
    pub fn peak(&self) -> Option<u64> {
        self.number(self.files.peak).ok()
    }

    /// How many of its processes the OOM killer has taken.
    pub fn oom_kills(&self) -> Result<u64> {
        let text = fs::read_to_string(self.file(self.files.events)).context("cannot read of OOM kills")?;
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.context("this kernel does not count OOM kills")?.trim().parse().context("a count of OOM kills")
    }

    fn number(&self, file: &str) -> Result<u64> {
        let text = fs::read_to_string(self.file(file)).with_context(|| format!("cannot read {file}"))?;
        text.trim().parse().with_context(|| format!("{file} says {text}"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + EMPTY_WITHIN;
        while let Err(error) = fs::remove_dir(&self.path) {
            if Instant::now() > deadline {
                eprintln!("error: cannot remove {}: {error}", self.path.display());
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Where the v1 memory controller is mounted.
fn v1_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = kind.split(' ');
        let is_v1 = fields.next() == Some("cgroup");
        let is_memory = fields.next_back()?.split(',').any(|option| option == "memory");
        (is_v1 && is_memory).then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_controller_is_found_on_hybrid_hosts_only() {
        let hybrid = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
            35 31 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(v1_mount(hybrid), Some(PathBuf::from("/sys/fs/cgroup/memory")));
        assert_eq!(
            v1_mount("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,memory_recursiveprot\n"),
            None
        );
    }
}
