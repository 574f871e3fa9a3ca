//! The applications that the end-to-end tests observe: LitServe and a Next.js server, each in its own folder below the
//! target folder. Their versions are pinned beside their sources; what is installed is kept until one of these changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{python, step, workspace};

/// Holds what the Next.js server was built from; written last, so that half a build has none.
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

/// Installs those that are missing or whose sources have changed.
pub(crate) fn install() -> Result<()> {
    python::install_list("tests/fixtures/litserve/requirements.txt", &folder("litserve"))?;
    next(&workspace::root().join("tests/fixtures/next"), &folder("next"))
}

/// Where an application is installed; `tests::apps` looks there.
fn folder(name: &str) -> PathBuf {
    workspace::target_dir().join("apps").join(name)
}

/// The packages of `package-lock.json`, and the server that Next.js builds from copies of the sources in `folder`.
fn next(fixtures: &Path, folder: &Path) -> Result<()> {
    let mut wanted = String::new();
    for source in NEXT_SOURCES {
        let file = fixtures.join(source);
        wanted += &fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    let stamp = folder.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|built_from| built_from == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    for source in NEXT_SOURCES {
        copy(&fixtures.join(source), &folder.join(source))?;
    }
    let npm = |arguments: &[&str]| {
        let mut npm = Command::new("npm");
        npm.args(arguments).current_dir(folder).env("NEXT_TELEMETRY_DISABLED", "1");
        npm
    };
    // The compiler comes as a package; nothing else has a script to run.
    step::run_quietly(
        "installing Next.js for the tests",
        &mut npm(&["ci", "--no-audit", "--no-fund", "--ignore-scripts"]),
    )?;
    step::run_quietly("building a Next.js server for the tests", &mut npm(&["run", "build"]))?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().with_context(|| format!("{} has no folder", to.display()))?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
