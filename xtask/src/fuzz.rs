//! `cargo xtask fuzz`: gives arbitrary bytes to all that reads bytes from outside, beginning with the corpus that is kept.
//! cargo-fuzz and libFuzzer do the work; rustup's nightly adds the address sanitizer where it is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{packages, step, toolchain, workspace};

/// The version that the targets were written with.
const VERSION: &str = "0.13.2";

/// A package of fuzz targets.
struct Package {
    folder: &'static str,
    /// Its binaries.
    targets: &'static [&'static str],
}

/// What is fuzzed: the framer of the kernel half, and what the agent reads.
const PACKAGES: [Package; 2] = [
    Package { folder: "observer-ebpf/fuzz", targets: &["heads", "chunks", "websocket", "connection"] },
    Package {
        folder: "observer/fuzz",
        targets: &[
            "executable",
            "type_information",
            "records",
            "docker",
            "proc_files",
            "configuration",
            "profiles",
            "paths",
            "credentials",
            "requests",
        ],
    },
];

/// The target whose inputs are files of some kilobytes.
const LARGE: &str = "executable";

/// For libFuzzer: ten seconds for an input are an endless loop, and a gigabyte is a bound that does not hold.
const LIMITS: &[&str] = &["-timeout=10", "-rss_limit_mb=1024"];

/// Fuzzes each of these targets, or all, for so many `seconds`; with `keep` what was found is added to the kept corpus,
/// which is then minimised.
pub(crate) fn fuzz(targets: &[String], seconds: u64, keep: bool) -> Result<()> {
    let chosen = choose(targets)?;
    if workspace::find_program("c++").is_none() {
        packages::install("fuzz", &["g++"])?;
    }
    let fuzzer = Fuzzer { program: install()?, nightly: nightly_works() };
    step::say(if fuzzer.nightly {
        "fuzzing with rustup's nightly and the address sanitizer"
    } else {
        "fuzzing without a sanitizer: rustup has no nightly here"
    });
    for (package, targets) in chosen {
        let title = format!("building the targets of {}", package.folder);
        step::run(&title, &mut fuzzer.command("build", package))?;
        for target in targets {
            fuzzer.fuzz(package, target, seconds, keep)?;
        }
    }
    Ok(())
}

/// The packages of these targets with those of their own, or all.
fn choose(targets: &[String]) -> Result<Vec<(&'static Package, Vec<&'static str>)>> {
    let known = || PACKAGES.iter().flat_map(|package| package.targets).copied().collect::<Vec<_>>();
    if let Some(unknown) = targets.iter().find(|target| !known().contains(&target.as_str())) {
        bail!("there is no fuzz target {unknown}; there are {}", known().join(", "));
    }
    let wanted = |name: &&'static str| targets.is_empty() || targets.iter().any(|target| target == name);
    let all =
        PACKAGES.iter().map(|package| (package, package.targets.iter().copied().filter(wanted).collect()));
    Ok(all.filter(|(_, targets): &(_, Vec<&str>)| !targets.is_empty()).collect())
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
    fn command(&self, action: &str, package: &Package) -> Command {
        let mut command = if self.nightly {
            toolchain::rustup(&self.program)
        } else {
            let mut command = Command::new(&self.program);
            command.env("RUSTC_BOOTSTRAP", "1").current_dir(workspace::root());
            command
        };
        command.arg(action).arg("--fuzz-dir").arg(package.path());
        command.arg("--target-dir").arg(workspace::target_dir().join("fuzz"));
        if !self.nightly {
            command.args(["--sanitizer", "none"]);
        }
        // The stack is libFuzzer's; the message says what did not hold.
        command.env("RUST_BACKTRACE", "0");
        command
    }

    fn fuzz(&self, package: &Package, target: &str, seconds: u64, keep: bool) -> Result<()> {
        let kept = package.path().join("corpus").join(target);
        let found = fresh(&workspace::target_dir().join("fuzz/found").join(target))?;
        // Of everything else a few segments, or some lines.
        let longest = format!("-max_len={}", if target == LARGE { 32_768 } else { 4096 });
        let mut run = self.command("run", package);
        run.arg(target).arg(&found).arg(&kept).arg("--").args(LIMITS).arg(&longest);
        run.arg(format!("-max_total_time={seconds}")).args(["-verbosity=0", "-print_final_stats=1"]);
        step::run(&format!("fuzzing {target} for {seconds} s"), &mut run)?;
        if !keep {
            return Ok(());
        }
        let merged = fresh(&workspace::target_dir().join("fuzz/merged").join(target))?;
        let mut merge = self.command("run", package);
        merge.arg(target).arg(&merged).arg(&kept).arg(&found).arg("--").args(LIMITS).arg(&longest);
        // Without counters an input is kept for the code it reaches, not for how often: a few dozen small ones are.
        merge.args(["-merge=1", "-use_counters=0"]);
        step::run_quietly(&format!("minimising the corpus of {target}"), &mut merge)?;
        replace(&kept, &merged)
    }
}

impl Package {
    fn path(&self) -> PathBuf {
        workspace::root().join(self.folder)
    }
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
    fn each_target_is_one_of_its_package_and_has_a_corpus() {
        for package in &PACKAGES {
            let manifest = fs::read_to_string(package.path().join("Cargo.toml")).unwrap();
            let mut names: Vec<_> = manifest
                .split("[[bin]]\nname = \"")
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
                .collect();
            names.sort_unstable();
            let mut targets = package.targets.to_vec();
            targets.sort_unstable();
            assert_eq!(names, targets);
            for target in targets {
                let mut corpus = package.path().join("corpus").join(target).read_dir().unwrap();
                assert!(corpus.next().is_some(), "{target}");
            }
        }
    }

    #[test]
    fn targets_are_chosen_by_their_names() {
        assert_eq!(choose(&[]).unwrap().len(), 2);
        let one = choose(&["paths".to_owned()]).unwrap();
        assert_eq!(
            one.iter().map(|(package, targets)| (package.folder, targets.clone())).collect::<Vec<_>>(),
            [("observer/fuzz", vec!["paths"])]
        );
        assert!(
            choose(&["path".to_owned()]).is_err_and(|error| error.to_string().contains("type_information"))
        );
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
