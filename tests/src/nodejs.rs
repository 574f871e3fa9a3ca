//! Programs of fixtures/nodejs, run by the versions of Node.js that `cargo xtask setup --tests` installs.
//! They go from step to step as the test says, and tell what they did as lines of a word and JSON.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::{
    apps::installed,
    cgroup::Cgroup,
    process::{Background, PATIENCE},
};

/// The major versions that are installed.
pub const VERSIONS: [u32; 4] = [18, 20, 22, 24];

/// The executable of one of [`VERSIONS`].
pub fn executable(version: u32) -> Result<PathBuf> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    installed(&format!("nodejs/node_modules/node{version}-{architecture}/bin/node"))
}

/// A program of fixtures/nodejs.
pub fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nodejs").join(name)
}

/// A running program; it is killed when this is dropped.
pub struct Steps {
    process: Background,
    pipe: File,
    _folder: TempDir,
}

impl Steps {
    /// Runs a program of fixtures/nodejs in `cgroup`; `command` is Node.js with its own arguments.
    pub fn start(cgroup: &Cgroup, command: &[&Path], name: &str, arguments: &[String]) -> Result<Self> {
        let (node, flags) = command.split_first().context("no command")?;
        let mut command = cgroup.command(node);
        command.args(flags).arg(program(name)).args(arguments);
        Self::start_by(|pipe| {
            command.env("STEPS", pipe);
            command
        })
    }

    /// Runs the command that `command` makes for a pipe, out of which the program is to read its steps.
    pub fn start_by(command: impl FnOnce(&Path) -> Command) -> Result<Self> {
        let folder = TempDir::new().context("cannot make a folder")?;
        let path = folder.path().join("steps");
        let made = Command::new("mkfifo").arg(&path).status().context("cannot start mkfifo")?;
        ensure!(made.success(), "cannot make a pipe at {}", path.display());
        // For reading too, so that neither side waits for the other to open it.
        let pipe = OpenOptions::new().read(true).write(true).open(&path).context("cannot open the pipe")?;
        Ok(Self { process: Background::start(&mut command(&path))?, pipe, _folder: folder })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Background {
        &mut self.process
    }

    /// What it tells after `word`, waited for.
    pub fn told<T: DeserializeOwned>(&mut self, word: &str) -> Result<T> {
        let json = self.process.wait_for(word, PATIENCE * 3, |line| {
            Some(line.strip_prefix(word)?.strip_prefix(' ')?.to_owned())
        })?;
        serde_json::from_str(&json).with_context(|| format!("after {word} came no JSON of its kind: {json}"))
    }

    /// Everything that it and its children told after `word` so far.
    pub fn all_told<T: DeserializeOwned>(&self, word: &str) -> Result<Vec<T>> {
        let output = self.process.output();
        let told = output.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        told.map(|json| serde_json::from_str(json).with_context(|| json.to_owned())).collect()
    }

    /// Lets it take one more step.
    pub fn proceed(&mut self) -> Result<()> {
        self.pipe.write_all(b"s").context("cannot write to the program's pipe")
    }
}
