//! The applications that the end-to-end tests observe: LitServe, a Next.js server, runtimes beside Node.js, and pm2, each in
//! its own folder below the target folder. Versions are pinned beside the sources; what is installed is kept until they change.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{python, step, workspace};

/// Holds what a folder was made from; written last, so that half an installation has none.
const STAMP: &str = "built-from";

/// What the Next.js server is built from.
const NEXT_SOURCES: &[&str] = &[
    "package.json",
    "package-lock.json",
    "next.config.mjs",
    "app/layout.js",
    "app/page.js",
    "app/api/chat/route.js",
    "app/api/plain/route.js",
];

/// Where packages are pinned that are used as they are.
const PINNED: &[&str] = &["package.json", "package-lock.json"];

/// Installs those that are missing or whose sources have changed.
pub(crate) fn install() -> Result<()> {
    python::install_list("tests/fixtures/litserve/requirements.txt", &folder("litserve"), None)?;
    let built =
        || step::run_quietly("building a Next.js server for the tests", &mut npm("next", &["run", "build"]));
    packages("next", NEXT_SOURCES, built)?;
    packages("runtimes", PINNED, || Ok(()))?;
    packages("pm2", PINNED, || Ok(()))
}

/// Where an application is installed; `tests::apps` looks there.
pub(crate) fn folder(name: &str) -> PathBuf {
    workspace::target_dir().join("apps").join(name)
}

/// The packages of the `package-lock.json` among these sources of `tests/fixtures`, in copies of which `then` goes on.
fn packages(name: &str, sources: &[&str], then: impl FnOnce() -> Result<()>) -> Result<()> {
    let (fixtures, folder) = (workspace::root().join("tests/fixtures").join(name), folder(name));
    let mut wanted = String::new();
    for source in sources {
        let file = fixtures.join(source);
        wanted += &fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    let stamp = folder.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|built_from| built_from == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    for source in sources {
        copy(&fixtures.join(source), &folder.join(source))?;
    }
    // What is to run is in the packages as it is; none has a script to run.
    let mut install = npm(name, &["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    step::run_quietly(&format!("installing {name} for the tests"), &mut install)?;
    then()?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

/// npm in the folder of an application.
fn npm(name: &str, arguments: &[&str]) -> Command {
    let mut npm = Command::new("npm");
    npm.args(arguments).current_dir(folder(name)).env("NEXT_TELEMETRY_DISABLED", "1");
    npm
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().with_context(|| format!("{} has no folder", to.display()))?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
