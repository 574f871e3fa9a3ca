//! Python packages that the tests' servers import: pinned by a list in tests/fixtures each, in folders of their own below
//! the target folder, so that neither the system's Python nor a user's is touched.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{packages, step, workspace};

/// Where the packages are, for `PYTHONPATH`.
pub(crate) fn folder() -> PathBuf {
    workspace::target_dir().join("python")
}

/// Installs the packages of the test servers.
pub(crate) fn install() -> Result<()> {
    install_list("tests/fixtures/http/requirements.txt", &folder(), None)
}

/// Installs the packages of `list`, seen from the workspace's folder, into `folder`, unless they are there as it asks; those
/// of another `platform`, by the name that Python has for it, where one is given.
pub(crate) fn install_list(list: &str, folder: &Path, platform: Option<&str>) -> Result<()> {
    let list = workspace::root().join(list);
    let wanted = fs::read(&list).with_context(|| format!("cannot read {}", list.display()))?;
    // A copy of the list says what is installed; it is written last.
    let installed = folder.join("requirements.txt");
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if !has_pip() {
        packages::install("setup --tests", &["python3-pip"])?;
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    step::run_quietly("installing Python packages for the tests", &mut pip(folder, &list, platform))?;
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))
}

fn pip(folder: &Path, list: &Path, platform: Option<&str>) -> Command {
    let mut command = Command::new("python3");
    command
        .args(["-m", "pip", "install", "--disable-pip-version-check", "--only-binary", ":all:"])
        .args(["--no-deps", "--root-user-action", "ignore", "--target"])
        .arg(folder)
        .arg("--requirement")
        .arg(list)
        .args(platform.iter().flat_map(|platform| ["--platform", platform]));
    command
}

/// Whether `python3` brings pip along; some do without any package.
fn has_pip() -> bool {
    Command::new("python3").args(["-m", "pip", "--version"]).output().is_ok_and(|run| run.status.success())
}
