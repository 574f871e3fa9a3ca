//! `cargo xtask test`: every test there is, in the order of what a failure tells.
//! Unit tests of both halves first, then other kernels in an emulator, then the end-to-end tests, which load the programs
//! and so need root. Five minutes of even load run beside all that comes before those.

use std::{fs, thread};

use anyhow::{Context, Result, anyhow};

use crate::{build, kernels, python, setup, soak, step, toolchain::Toolchain, workspace};

/// Runs all tests; without root the end-to-end tests are left out, which one line says.
pub(crate) fn test() -> Result<()> {
    let root = workspace::is_root();
    // What is fetched waits for others, and what is compiled for this machine.
    let (kernels, toolchain) = thread::scope(|scope| -> Result<_> {
        let fetching = scope.spawn(|| step::beside(|| fetch(root)));
        let built = build();
        let fetched = fetching.join().map_err(|_| anyhow!("the thread that fetches panicked"))?;
        Ok((fetched?, built?))
    })?;
    thread::scope(|scope| -> Result<()> {
        // It needs a third of a CPU, and what runs beside it takes the rest.
        let soaking = root.then(|| scope.spawn(|| step::beside(soak::short)));
        let tested = without_root(kernels);
        let soaked = soaking.map_or(Ok(Ok(())), thread::ScopedJoinHandle::join);
        tested?;
        soaked.map_err(|_| anyhow!("the thread that soaks panicked"))?
    })?;
    if root {
        return end_to_end(&toolchain);
    }
    step::say("end-to-end tests left out: they need root; run `sudo -E env PATH=\"$PATH\" cargo xtask test`");
    Ok(())
}

/// Everything that tests need and a build does not.
fn fetch(root: bool) -> Result<kernels::Usual> {
    if root {
        setup::install_for_tests()?;
    }
    Ok(kernels::Usual::fetch())
}

/// The agent, and what runs in guests and for long.
fn build() -> Result<Toolchain> {
    let toolchain = setup::setup(false)?;
    build::build(&toolchain, &["observer", "tests"])?;
    Ok(toolchain)
}

/// All that loads no program into this machine's kernel.
fn without_root(kernels: kernels::Usual) -> Result<()> {
    step::run("building the tests", &mut workspace::cargo(["test", "--workspace", "--no-run"]))?;
    unit()?;
    kernels.test()
}

/// The unit tests of every package, and of the kernel half's library on the host.
pub(crate) fn unit() -> Result<()> {
    let mut cargo = workspace::cargo(["test", "--workspace", "--lib", "--bins"]);
    step::run("unit tests", cargo.args(test_targets("observer")?))
}

/// The end-to-end tests against the agent that `build` made.
pub(crate) fn end_to_end(toolchain: &Toolchain) -> Result<()> {
    let neighbour = build::neighbour_object(toolchain)?;
    // Of the whole workspace, as the unit tests: for one package alone cargo would choose other features of what all
    // depend on, and build that again.
    let mut cargo = workspace::cargo(["test", "--workspace", "--no-fail-fast"]);
    cargo.args(test_targets("tests")?);
    // One at a time: the tests count what the whole agent does, and two would share the machine's two cores.
    cargo.args(["--", "--test-threads=1"]).env("OBSERVER_BIN", workspace::agent());
    cargo.env("OBSERVER_NEIGHBOUR_OBJECT", neighbour).env("OBSERVER_PYTHON_PACKAGES", python::folder());
    step::run("end-to-end tests", &mut cargo)
}

/// Arguments that name each file and each program in the folder `tests` of a package.
fn test_targets(package: &str) -> Result<Vec<String>> {
    let folder = workspace::root().join(package).join("tests");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_target =
            path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
        if let Some(name) = path.file_stem().filter(|_| is_target) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names.into_iter().flat_map(|name| ["--test".to_owned(), name]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_programs_are_targets_and_folders_of_other_files_are_not() {
        let targets = test_targets("observer").unwrap();
        assert_eq!(targets, ["--test", "cli", "--test", "golden", "--test", "layers"]);
        assert!(test_targets("tests").unwrap().contains(&"streams_sse".to_owned()));
    }
}
