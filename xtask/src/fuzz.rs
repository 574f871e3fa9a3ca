//! `cargo xtask fuzz`: gives the framer arbitrary bytes, beginning with the corpus that is kept.
//! cargo-fuzz and libFuzzer do the work; rustup's nightly adds the address sanitizer where it is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{packages, step, toolchain, workspace};

/// The version that the targets were written with.
const VERSION: &str = "0.13.2";

/// What is fuzzed: the binaries of `observer-ebpf/fuzz`.
const TARGETS: &[&str] = &["heads", "chunks", "websocket", "connection"];

/// For libFuzzer: inputs of at most a few segments, and ten seconds for one are an endless loop.
const LIMITS: &[&str] = &["-max_len=4096", "-timeout=10"];

/// Fuzzes for `seconds` in all; with `keep` what was found is added to the kept corpus, which is then minimised.
pub(crate) fn fuzz(seconds: u64, keep: bool) -> Result<()> {
    if workspace::find_program("c++").is_none() {
        packages::install("fuzz", &["g++"])?;
    }
    let fuzzer = Fuzzer { program: install()?, nightly: nightly_works() };
    step::say(if fuzzer.nightly {
        "fuzzing with rustup's nightly and the address sanitizer"
    } else {
        "fuzzing without a sanitizer: rustup has no nightly here"
    });
    step::run("building the fuzz targets", &mut fuzzer.command("build"))?;
    let share = (seconds / TARGETS.len() as u64).max(1);
    for target in TARGETS {
        fuzzer.fuzz(target, share, keep)?;
    }
    Ok(())
}

/// cargo-fuzz: the one in PATH, or else one that is installed among the build's own tools.
fn install() -> Result<PathBuf> {
    let tools = workspace::target_dir().join("tools");
    let own = tools.join("bin/cargo-fuzz");
    if let Some(program) =
        workspace::find_program("cargo-fuzz").or_else(|| own.is_file().then(|| own.clone()))
    {
        return Ok(program);
    }
    let mut cargo = workspace::cargo(["install", "cargo-fuzz", "--version", VERSION, "--locked", "--root"]);
    // Cargo then builds in a temporary folder that it removes.
    cargo.arg(&tools).env_remove("CARGO_TARGET_DIR");
    step::run_quietly(&format!("building cargo-fuzz {VERSION} into {}", tools.display()), &mut cargo)?;
    Ok(own)
}

/// Whether rustup has a nightly; the library's source, which the kernel half needs, is not needed here.
fn nightly_works() -> bool {
    toolchain::rustup("rustc").arg("--version").output().is_ok_and(|run| run.status.success())
}

/// How cargo-fuzz is called here.
struct Fuzzer {
    program: PathBuf,
    nightly: bool,
}

impl Fuzzer {
    /// cargo-fuzz with its options for `action`.
    fn command(&self, action: &str) -> Command {
        let mut command = if self.nightly {
            toolchain::rustup(&self.program)
        } else {
            let mut command = Command::new(&self.program);
            command.env("RUSTC_BOOTSTRAP", "1").current_dir(workspace::root());
            command
        };
        command.arg(action).arg("--fuzz-dir").arg(folder());
        command.arg("--target-dir").arg(workspace::target_dir().join("fuzz"));
        if !self.nightly {
            command.args(["--sanitizer", "none"]);
        }
        // The stack is libFuzzer's; the message says what did not hold.
        command.env("RUST_BACKTRACE", "0");
        command
    }

    fn fuzz(&self, target: &str, seconds: u64, keep: bool) -> Result<()> {
        let kept = folder().join("corpus").join(target);
        let found = fresh(&workspace::target_dir().join("fuzz/found").join(target))?;
        let mut run = self.command("run");
        run.arg(target).arg(&found).arg(&kept).arg("--").args(LIMITS);
        run.arg(format!("-max_total_time={seconds}")).args(["-verbosity=0", "-print_final_stats=1"]);
        step::run(&format!("fuzzing {target} for {seconds} s"), &mut run)?;
        if !keep {
            return Ok(());
        }
        let merged = fresh(&workspace::target_dir().join("fuzz/merged").join(target))?;
        let mut merge = self.command("run");
        merge.arg(target).arg(&merged).arg(&kept).arg(&found).arg("--").args(LIMITS);
        // Without counters an input is kept for the code it reaches, not for how often: a few dozen small ones are.
        merge.args(["-merge=1", "-use_counters=0"]);
        step::run_quietly(&format!("minimising the corpus of {target}"), &mut merge)?;
        replace(&kept, &merged)
    }
}

/// The package of the targets.
fn folder() -> PathBuf {
    workspace::root().join("observer-ebpf/fuzz")
}

/// An empty folder at `path`.
fn fresh(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("cannot empty {}", path.display()))?;
    }
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path.to_path_buf())
}

/// Makes `to` hold the files of `from` and no others.
fn replace(to: &Path, from: &Path) -> Result<()> {
    fresh(to)?;
    for file in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let file = file.with_context(|| format!("cannot read {}", from.display()))?;
        let copy = to.join(file.file_name());
        fs::copy(file.path(), &copy).with_context(|| format!("cannot write {}", copy.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_is_one_of_the_package_and_has_a_corpus() {
        let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        let mut names: Vec<_> =
            manifest.split("[[bin]]\nname = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        names.sort_unstable();
        let mut targets = TARGETS.to_vec();
        targets.sort_unstable();
        assert_eq!(names, targets);
        for target in TARGETS {
            assert!(folder().join("corpus").join(target).read_dir().unwrap().next().is_some(), "{target}");
        }
    }

    #[test]
    fn a_folder_is_replaced_with_all_of_its_files() {
        let place = std::env::temp_dir().join(format!("observer-xtask-fuzz-{}", std::process::id()));
        let (from, to) = (fresh(&place.join("from")).unwrap(), fresh(&place.join("to")).unwrap());
        fs::write(to.join("old"), "old").unwrap();
        fs::write(from.join("new"), "new").unwrap();
        replace(&to, &from).unwrap();
        let names: Vec<_> = to.read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
        fs::remove_dir_all(&place).unwrap();
        assert_eq!(names, ["new"]);
    }
}
