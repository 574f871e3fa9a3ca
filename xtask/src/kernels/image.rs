//! The guest's file system, as a cpio archive that the kernel unpacks into memory (Documentation/driver-api/early-userspace/
//! buffer-format.rst): the programs under test, their libraries, and busybox to start them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::folder;
use crate::workspace;

/// Programs of this repository.
const OWN: &[&str] = &["observer", "guest", "demo", "demo-chat"];

/// What Docker needs in a guest.
const DOCKER: &[&str] = &["docker", "dockerd", "containerd", "containerd-shim-runc-v2", "runc"];

/// What a guest is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// The tests of every kernel, with so many starts of the agent.
    Tests { starts: u32 },
    /// Those with Docker containers.
    Containers,
}

impl Work {
    /// Arguments of `guest`.
    fn arguments(self) -> String {
        match self {
            Self::Tests { starts } => format!("run --starts {starts}"),
            Self::Containers => "full".to_owned(),
        }
    }

    /// Memory that it needs, in MiB; its files are in there too.
    const fn memory(self) -> u32 {
        match self {
            Self::Tests { .. } => 1024,
            Self::Containers => 3072,
        }
    }
}

/// A guest to boot.
pub(super) struct Guest {
    /// Its file system.
    pub(super) archive: PathBuf,
    /// MiB.
    pub(super) memory: u32,
}

/// What the first program of the guest does; its output is the results.
const INIT: &str = "#!/bin/busybox sh
export PATH=/bin NO_COLOR=1 OBSERVER_BIN=/bin/observer
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /tmp
ip link set lo up
exec >/dev/ttyS1 2>&1
echo \"release\t$(uname -r)\"
guest ARGUMENTS
echo end
reboot -f
";

/// Kinds of files, of `st_mode`.
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// Writes the archive of a guest for `work`.
pub(super) fn build(work: Work) -> Result<Guest> {
    let mut files: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    let mut programs = Vec::new();
    for name in OWN {
        programs.push((Path::new("/bin").join(name), workspace::target_dir().join("release").join(name)));
    }
    for (inside, name, package) in
        [("/bin", "busybox", "busybox-static"), ("/usr/bin", "setpriv", "util-linux")]
    {
        let program = workspace::find_program(name);
        let program =
            program.with_context(|| format!("{name} is missing; run `apt-get install {package}`"))?;
        programs.push((Path::new(inside).join(name), program));
    }
    for name in DOCKER.iter().filter(|_| work == Work::Containers) {
        let program = workspace::find_program(name);
        let program = program
            .with_context(|| format!("{name} is missing; `cargo xtask setup --tests` installs Docker"))?;
        programs.push((Path::new("/bin").join(name), program));
    }
    for (inside, program) in programs {
        files.insert(inside, read(&program)?);
        for library in libraries(&program)? {
            files.insert(library.clone(), read(&library)?);
        }
    }
    files.insert(PathBuf::from("/init"), INIT.replace("ARGUMENTS", &work.arguments()).into_bytes());
    // What Docker gives to containers that share the guest's network.
    for (file, text) in [("/etc/hosts", "127.0.0.1 localhost\n"), ("/etc/resolv.conf", "")] {
        files.insert(PathBuf::from(file), text.as_bytes().to_vec());
    }
    let name = if work == Work::Containers { "containers.cpio" } else { "tests.cpio" };
    let path = folder().join(name);
    fs::write(&path, archive(&files)).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Guest { archive: path, memory: work.memory() })
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The libraries that a program loads, and the loader; none of a static one.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let run = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    ensure!(!text.contains("not found"), "{} lacks libraries:\n{text}", program.display());
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(text.lines().filter_map(path).collect())
}

/// Files with their folders, and folders for what the kernel shows.
fn archive(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<u8> {
    let mut folders: Vec<PathBuf> = ["/proc", "/sys", "/dev", "/tmp", "/run"].map(PathBuf::from).to_vec();
    for file in files.keys() {
        let parents = file.ancestors().skip(1).filter(|folder| folder.parent().is_some());
        folders.extend(parents.map(Path::to_path_buf));
    }
    folders.sort_unstable();
    folders.dedup();
    let mut bytes = Vec::new();
    let mut number = 0;
    let mut add = |name: &Path, mode: u32, content: &[u8]| {
        number += 1;
        entry(&mut bytes, number, &name.to_string_lossy(), mode, content);
    };
    for folder in &folders {
        add(folder, FOLDER, &[]);
    }
    for (file, content) in files {
        add(file, PROGRAM, content);
    }
    add(Path::new("TRAILER!!!"), 0, &[]);
    bytes
}

/// One entry in the format `newc`: thirteen numbers of eight digits, the name, the content, both padded to words.
fn entry(bytes: &mut Vec<u8>, number: usize, name: &str, mode: u32, content: &[u8]) {
    let name = name.trim_start_matches('/');
    let fields =
        [number, mode as usize, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0].map(|field| {
            let digits = format!("{field:08X}");
            digits.into_bytes()
        });
    bytes.extend_from_slice(b"070701");
    for field in fields {
        bytes.extend_from_slice(&field);
    }
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend_from_slice(content);
    pad(bytes);
}

/// Every entry begins at a multiple of four, and so does every part.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_they_hold_and_all_is_aligned() {
        let files = BTreeMap::from([(PathBuf::from("/a/b/program"), b"12345".to_vec())]);
        let bytes = archive(&files);
        let at = |name: &str| {
            let needle = [name.as_bytes(), &[0]].concat();
            bytes.windows(needle.len()).position(|window| window == needle).unwrap()
        };
        assert!(at("a") < at("a/b") && at("a/b") < at("a/b/program") && at("a/b/program") < at("TRAILER!!!"));
        assert_eq!(bytes.len() % 4, 0);
        let starts: Vec<usize> = bytes
            .windows(6)
            .enumerate()
            .filter(|(_, window)| window == b"070701")
            .map(|(at, _)| at)
            .collect();
        assert_eq!(starts.len(), 5 + 2 + 1 + 1);
        assert!(starts.iter().all(|start| start % 4 == 0));
    }
}
