//! The versions of Node.js that the end-to-end tests observe, as the packages that carry its executables.
//! Their versions and checksums are pinned in tests/fixtures/nodejs; what is installed is kept until these change.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use crate::{step, workspace};

/// What the packages are installed from; the last names their checksums.
const SOURCES: [&str; 2] = ["package.json", "package-lock.json"];

/// Installs them below the target folder, where `tests::nodejs` looks, unless they are there.
pub(crate) fn install() -> Result<()> {
    let fixtures = workspace::root().join("tests/fixtures/nodejs");
    let folder = workspace::target_dir().join("apps/nodejs");
    let read = |name: &str| {
        let file = fixtures.join(name);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let sources = SOURCES.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    // Written last, so that half an installation has none.
    let stamp = folder.join("installed-from");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == sources.concat()) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in SOURCES.into_iter().zip(&sources) {
        let file = folder.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
    step::run_quietly("installing four versions of Node.js for the tests", &mut npm)?;
    fs::write(&stamp, sources.concat()).with_context(|| format!("cannot write {}", stamp.display()))
}
