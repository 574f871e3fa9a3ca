//! `observer targets` on a target of real runtimes of JavaScript: Bun and Deno are told as not covered, under whatever name
//! and compiled into an application; Node.js is not.

#![cfg(target_arch = "x86_64")] // The packages that carry the executables are pinned for this processor.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::{agent, apps::installed, cgroup::Cgroup, process::Background};

const UP_WITHIN: Duration = Duration::from_secs(20);
const SCRIPT: &str = "console.log('up'); setInterval(() => {}, 1000);";

/// The file of this name below a folder.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.file_name().is_some_and(|file| file == name) {
                return Ok(path);
            }
        }
    }
    anyhow::bail!("no {name} in {}; run `cargo xtask setup --tests`", folder.display())
}

#[test]
fn bun_and_deno_are_named_as_not_covered() -> Result<()> {
    let (cgroup, folder) = (Cgroup::create("observer-runtimes")?, TempDir::new()?);
    let runtimes = installed("runtimes/node_modules")?;
    let script = folder.path().join("chat.js");
    fs::write(&script, SCRIPT)?;
    // Under names that say nothing, or something else.
    let (one, other, compiled) =
        (folder.path().join("server"), folder.path().join("node"), folder.path().join("app"));
    let bun = find(&runtimes, "bun")?;
    fs::copy(&bun, &one)?;
    fs::copy(find(&runtimes, "deno")?, &other)?;
    let compiling = Command::new(&bun)
        .args(["build", "--compile"])
        .arg(&script)
        .arg("--outfile")
        .arg(&compiled)
        .output()?;
    ensure!(compiling.status.success(), "{compiling:?}");

    let mut commands =
        [cgroup.command(&one), cgroup.command(&other), cgroup.command(&compiled), cgroup.command("node")];
    let arguments: [&[&str]; 4] = [&["run"], &["run", "--no-lock", "--no-remote"], &[], &[]];
    let mut running = Vec::new();
    for (command, arguments) in commands.iter_mut().zip(arguments) {
        command.args(arguments).env("DENO_NO_UPDATE_CHECK", "1").env("HOME", folder.path());
        let mut process = Background::start(command.arg(&script))?;
        process.wait_for("start", UP_WITHIN, |line| line.contains("up").then_some(()))?;
        running.push(process);
    }

    let mut targets = Command::new(agent::binary()?);
    targets.args(["targets", "--docker-socket", "", "--target", &cgroup.selector()]);
    let told = agent::run_to_end(&mut targets)?.output;
    for (file, runtime) in [(&one, "Bun"), (&other, "Deno"), (&compiled, "Bun")] {
        let begin = format!("    {} is {runtime}: ", file.display());
        let line = told.lines().find(|line| line.starts_with(&begin));
        ensure!(line.is_some_and(|line| line.contains("not covered, as ")), "no `{begin}` in {told}");
    }
    let lines = told.lines().filter(|line| line.contains("not covered")).count();
    ensure!(lines == 3, "{told}");
    Ok(())
}
