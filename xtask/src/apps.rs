//! The applications that the end-to-end tests observe: LitServe and a Next.js server, each in its own folder below the
//! target folder. Their versions are pinned beside their sources; what is installed is kept until one of these changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{packages, step, workspace};

/// Holds what an application was installed from; written last, so that half an installation has none.
const STAMP: &str = "installed-from";

/// An application.
struct App {
    /// Of its folder below `tests/fixtures`, and of the one where it is installed.
    name: &'static str,
    /// What its installation depends on.
    sources: &'static [&'static str],
    /// Installs it into a folder that holds copies of the sources.
    install: fn(&Path) -> Result<()>,
}

const APPS: &[App] = &[
    App { name: "litserve", sources: &["requirements.txt"], install: litserve },
    App {
        name: "next",
        sources: &[
            "package.json",
            "package-lock.json",
            "next.config.mjs",
            "app/layout.js",
            "app/page.js",
            "app/api/chat/route.js",
            "app/api/plain/route.js",
        ],
        install: next,
    },
];

/// Installs those that are missing or whose sources have changed.
pub(crate) fn install() -> Result<()> {
    for App { name, sources, install } in APPS {
        let fixtures = workspace::root().join("tests/fixtures").join(name);
        let folder = folder(name);
        let mut wanted = String::new();
        for source in *sources {
            let file = fixtures.join(source);
            wanted +=
                &fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        }
        if fs::read_to_string(folder.join(STAMP)).is_ok_and(|stamp| stamp == wanted) {
            continue;
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        for source in *sources {
            copy(&fixtures.join(source), &folder.join(source))?;
        }
        install(&folder)?;
        let stamp = folder.join(STAMP);
        fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    Ok(())
}

/// Where an application is installed; `tests::apps` looks there.
fn folder(name: &str) -> PathBuf {
    workspace::target_dir().join("apps").join(name)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().with_context(|| format!("{} has no folder", to.display()))?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// A Python environment of its own with the packages of `requirements.txt`.
fn litserve(folder: &Path) -> Result<()> {
    let ensurepip = Command::new("python3").args(["-m", "ensurepip", "--version"]).output();
    // Debian's python3 comes without what `venv` needs.
    if packages::available() && !ensurepip.is_ok_and(|run| run.status.success()) {
        packages::install("setup --tests", &["python3-venv"])?;
    }
    let environment = folder.join("environment");
    step::run_quietly(
        "making a Python environment for LitServe",
        Command::new("python3").args(["-m", "venv"]).arg(&environment),
    )?;
    step::run_quietly(
        "installing LitServe into it",
        Command::new(environment.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
            .args(["--no-deps", "--requirement"])
            .arg(folder.join("requirements.txt")),
    )
}

/// The packages of `package-lock.json`, and the server that Next.js builds from the sources.
fn next(folder: &Path) -> Result<()> {
    let npm = |arguments: &[&str]| {
        let mut npm = Command::new("npm");
        npm.args(arguments).current_dir(folder).env("NEXT_TELEMETRY_DISABLED", "1");
        npm
    };
    step::run_quietly(
        "installing Next.js",
        // The compiler comes as a package; nothing else has a script to run.
        &mut npm(&["ci", "--no-audit", "--no-fund", "--ignore-scripts"]),
    )?;
    step::run_quietly("building a Next.js server", &mut npm(&["run", "build"]))
}
