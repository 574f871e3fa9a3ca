//! bpf-linker: finding one whose LLVM reads the compiler's bitcode, and building one where there is none.
//! A linker is judged by a trial: it does not name its LLVM version.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{packages, step, toolchain::Compiler, workspace};

/// The version that this workspace is built with.
const VERSION: &str = "0.13.0";

/// The smallest crate whose bitcode has something to link.
const TRIAL: &str =
    "#![no_std]\n#[unsafe(no_mangle)]\npub extern \"C\" fn trial(value: u64) -> u64 { value ^ 1 }\n";

/// A bpf-linker that links what `compiler` emits: one that we built, else the one in PATH.
pub(crate) fn find(compiler: Compiler) -> Result<Option<PathBuf>> {
    let candidates = [Some(own()), workspace::find_program("bpf-linker")];
    let present: Vec<PathBuf> = candidates.into_iter().flatten().filter(|linker| linker.is_file()).collect();
    if present.is_empty() {
        return Ok(None);
    }
    let bitcode = trial_bitcode(compiler)?;
    Ok(present.into_iter().find(|linker| links(linker, &bitcode)))
}

/// Builds bpf-linker against Debian's LLVM of the major version that `compiler` has.
pub(crate) fn install(compiler: Compiler) -> Result<PathBuf> {
    let major = compiler.llvm_major()?;
    let (llvm, polly) = (format!("llvm-{major}-dev"), format!("libpolly-{major}-dev"));
    packages::install("setup", &[&llvm, &polly, "zlib1g-dev", "libzstd-dev", "gcc", "libc6-dev"])?;
    let tools = workspace::target_dir().join("tools");
    let mut cargo = workspace::cargo(["install", "bpf-linker", "--version", VERSION, "--locked"]);
    cargo
        .args(["--no-default-features", "--features", &format!("llvm-{major}"), "--root"])
        .arg(&tools)
        .env("LLVM_PREFIX", format!("/usr/lib/llvm-{major}"))
        // Cargo then builds in a temporary folder that it removes.
        .env_remove("CARGO_TARGET_DIR");
    step::run_quietly(&format!("building bpf-linker {VERSION} into {}", tools.display()), &mut cargo)?;
    match find(compiler)? {
        Some(linker) => Ok(linker),
        None => {
            bail!("the bpf-linker just built does not link what {compiler} emits; remove {}", tools.display())
        }
    }
}

/// Where `install` puts it: never over an installation of the user's.
fn own() -> PathBuf {
    workspace::target_dir().join("tools/bin/bpf-linker")
}

/// Bitcode of `compiler`. For the host's target, which has a `core` without building one: the version of the
/// bitcode is the same.
fn trial_bitcode(compiler: Compiler) -> Result<PathBuf> {
    let folder = workspace::target_dir().join("ebpf/trial");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let source = folder.join("trial.rs");
    fs::write(&source, TRIAL).with_context(|| format!("cannot write {}", source.display()))?;
    let bitcode = folder.join("trial.bc");
    let run = compiler
        .rustc()
        .args(["--edition=2024", "--crate-type=lib", "--emit=llvm-bc", "-Cpanic=abort", "-o"])
        .args([&bitcode, &source])
        .output()
        .with_context(|| format!("cannot start {compiler}"))?;
    if !run.status.success() {
        bail!("{compiler} does not compile: {}", String::from_utf8_lossy(&run.stderr).trim());
    }
    Ok(bitcode)
}

/// Whether `linker` makes an object of `bitcode`.
fn links(linker: &Path, bitcode: &Path) -> bool {
    let mut command = Command::new(linker);
    command.args(["--target=bpfel", "--export=trial", "-o"]).arg(bitcode.with_extension("o")).arg(bitcode);
    // The compiler's libraries in LD_LIBRARY_PATH are not the ones that this linker was built with.
    command.env_remove("LD_LIBRARY_PATH").output().is_ok_and(|run| run.status.success())
}
