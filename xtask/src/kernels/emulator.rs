//! qemu: the one in PATH, or Debian's unpacked into the target folder, since installing it may remove other packages.
//! Plain emulation, which every machine can do; a kernel boots in some seconds.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{folder, image::Guest};
use crate::{
    apt::{self, Apt, Installed},
    step, workspace,
};

const PROGRAM: &str = "qemu-system-x86_64";

/// CPUs of a guest.
const CPUS: &str = "2";

/// A qemu that starts.
pub(super) struct Emulator {
    program: PathBuf,
    /// Where it was unpacked, if it was.
    unpacked: Option<PathBuf>,
}

impl Emulator {
    /// The one that is installed, else the one that was unpacked, else that one anew.
    pub(super) fn find() -> Result<Self> {
        if let Some(program) = workspace::find_program(PROGRAM) {
            return Ok(Self { program, unpacked: None });
        }
        let folder = folder().join("qemu");
        let unpacked = folder.join("unpacked");
        let own = Self { program: unpacked.join("usr/bin").join(PROGRAM), unpacked: Some(unpacked.clone()) };
        if !own.starts() {
            fetch(&folder, &unpacked).context("qemu is not installed and cannot be fetched")?;
        }
        let run =
            own.command().arg("--version").output().context("cannot start the qemu that was fetched")?;
        let errors = String::from_utf8_lossy(&run.stderr);
        anyhow::ensure!(run.status.success(), "the qemu that was fetched does not start: {}", errors.trim());
        Ok(own)
    }

    fn starts(&self) -> bool {
        self.command().arg("--version").output().is_ok_and(|run| run.status.success())
    }

    /// qemu with the libraries and firmware that it was unpacked with.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(unpacked) = &self.unpacked {
            command.env("LD_LIBRARY_PATH", libraries(unpacked));
            for firmware in ["usr/share/qemu", "usr/share/seabios"] {
                command.arg("-L").arg(unpacked.join(firmware));
            }
        }
        command
    }

    /// A machine that boots `kernel` with the file system of `guest`. What the kernel says goes to `console`,
    /// what the guest writes to its second serial port to `results`.
    pub(super) fn machine(&self, kernel: &Path, guest: &Guest, console: &Path, results: &Path) -> Command {
        let file = |path: &Path| {
            let mut argument = OsString::from("file:");
            argument.push(path);
            argument
        };
        let mut command = self.command();
        command
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", CPUS, "-M", "q35"])
            .args(["-m", &guest.memory.to_string()])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-append", "console=ttyS0 panic=-1 quiet"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(&guest.archive)
            .arg("-serial")
            .arg(file(console))
            .arg("-serial")
            .arg(file(results));
        command
    }
}

/// Folders of the libraries in the packages, as `LD_LIBRARY_PATH` has them.
fn libraries(unpacked: &Path) -> OsString {
    let folders = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| unpacked.join(folder));
    std::env::join_paths(folders).unwrap_or_default()
}

/// Fetches qemu and those of its libraries that are not installed, of this machine's release and its backports, whose
/// qemu is the one that fits other parts of qemu that are installed.
fn fetch(folder: &Path, unpacked: &Path) -> Result<()> {
    let (main, _) = apt::archives()?;
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release names no VERSION_CODENAME")?;
    let backports = format!("{codename}-backports");
    let sources = [(main.clone(), codename.to_owned()), (main, backports.clone())];
    let apt = Apt::new(folder.join("apt"), &sources, Installed::Here)?;
    apt.update(&backports)?;
    step::run_quietly(
        "fetching qemu",
        apt.command("apt-get")
            .args(["--yes", "--quiet", "--download-only", "--no-install-recommends", "--no-remove"])
            .args(["--target-release", &backports, "install", "qemu-system-x86"]),
    )?;
    for package in fs::read_dir(apt.archives()).context("cannot read what was fetched")? {
        let package = package?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            apt::unpack(&package, unpacked)?;
        }
    }
    Ok(())
}
