//! Node.js for musl, which is the C library of Alpine's images: the executable out of the Python package that carries it, and
//! musl itself from a later Debian, because the executable wants 1.2.4.

use std::{env::consts::ARCH, fs};

use anyhow::{Context, Result};

use crate::{
    apps,
    apt::{self, Apt, Installed},
    packages, python, step,
};

/// Pins the Python package.
const LIST: &str = "tests/fixtures/nodejs/musl.txt";
/// Where Debian has a musl that is new enough.
const SUITE: &str = "trixie";

/// Installs both below the target folder, where the tests look, unless they are there.
pub(crate) fn install() -> Result<()> {
    python::install_list(LIST, &apps::folder("musl/node"), Some(&format!("musllinux_1_2_{ARCH}")))?;
    let loader = apps::folder("musl/loader");
    // Elsewhere the test takes the machine's own.
    if loader.exists() || !packages::available() {
        return Ok(());
    }
    let (main, _) = apt::archives()?;
    let folder = apps::folder("musl/debian");
    let apt = Apt::new(folder.join("apt"), &[(main, SUITE.to_owned())], Installed::Nothing)?;
    apt.update(SUITE)?;
    let package = folder.join("package");
    fs::create_dir_all(&package).with_context(|| format!("cannot make {}", package.display()))?;
    step::run_quietly(
        &format!("fetching musl of {SUITE}"),
        apt.command("apt-get").args(["--quiet", "download", "musl"]).current_dir(&package),
    )?;
    let mut files = fs::read_dir(&package).with_context(|| format!("cannot read {}", package.display()))?;
    let file = files.next().context("nothing was fetched")??.path();
    let unpacked = folder.join("unpacked");
    apt::unpack(&file, &unpacked)?;
    // Last, so that half an installation has none.
    let library = unpacked.join(format!("usr/lib/{ARCH}-linux-musl/libc.so"));
    fs::rename(&library, &loader).with_context(|| format!("no {} in musl", library.display()))?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
}
