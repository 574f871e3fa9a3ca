//! A file system that a process serves and then does not: what a container with root may mount for itself.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::attack::program;

/// It is mounted until this is dropped, which lets go whoever waits for it.
pub struct Fuse {
    folder: TempDir,
    server: Child,
    commands: ChildStdin,
}

impl Fuse {
    /// Mounts one with one file, which has the content of `source`; it is silent after `bytes` were read.
    pub fn mount(source: &Path, bytes: u64) -> Result<Self> {
        let folder = TempDir::new().context("cannot make a folder")?;
        let mut command = Command::new("python3");
        command.arg(program("fuse.py")).arg(folder.path()).arg(source).arg(bytes.to_string());
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let commands = server.stdin.take().context("no pipe to the file system's server")?;
        let mut fuse = Self { folder, server, commands };
        fuse.wait_for("mounted")?;
        Ok(fuse)
    }

    /// Its file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    /// From now on it answers nothing.
    pub fn be_silent(&mut self) -> Result<()> {
        self.commands.write_all(b"\n").context("cannot tell the file system's server")?;
        self.wait_for("silent")
    }

    fn wait_for(&mut self, word: &str) -> Result<()> {
        use std::io::BufRead as _;
        let output = self.server.stdout.as_mut().context("no output of the file system's server")?;
        let mut line = String::new();
        std::io::BufReader::with_capacity(1, output).read_line(&mut line)?;
        anyhow::ensure!(line.trim() == word, "the file system's server said {line}");
        Ok(())
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        // With its server the connection ends, and all that wait for it get an error.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let unmounted = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("error: cannot unmount {}", self.folder.path().display());
        }
    }
}
