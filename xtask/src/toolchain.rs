//! The compiler for the kernel half: a rustup nightly with the library's source, or Debian's rustc-web.
//! Either builds `core` for the BPF target; which one is used is found out anew each time, never remembered.

use std::{
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{linker, workspace};

/// Debian's compiler, its cargo and the library's source: one matching set.
pub(crate) const DEBIAN_COMPILER: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

/// The oldest release that builds the workspace, as its `rust-version` says.
pub(crate) const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Where Debian puts that compiler.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// What an outer cargo or rustup sets for its own compiler, which would lead another one astray.
const INHERITED: &[&str] = &[
    "CARGO",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// A compiler that can build `core` for the BPF target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// `rustup run nightly`, with the component rust-src.
    Nightly,
    /// rustc-web with `RUSTC_BOOTSTRAP=1`, for `-Z` options.
    Debian,
}

impl Compiler {
    /// Whether this compiler and the library's source are there, and not too old.
    pub(crate) fn present(self) -> bool {
        if self == Self::Nightly && workspace::find_program("rustup").is_none() {
            return false;
        }
        let version = self.rustc().arg("--version").output();
        let recent = version.is_ok_and(|run| is_recent(&String::from_utf8_lossy(&run.stdout), OLDEST));
        if !recent {
            return false;
        }
        let Ok(run) = self.rustc().args(["--print", "sysroot"]).output() else {
            return false;
        };
        let sysroot = String::from_utf8_lossy(&run.stdout);
        run.status.success() && Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir()
    }

    /// The major version of the LLVM inside this compiler: the linker's must be the same.
    pub(crate) fn llvm_major(self) -> Result<u32> {
        let run = self.rustc().arg("-vV").output().with_context(|| format!("cannot start {self}"))?;
        let version = String::from_utf8_lossy(&run.stdout);
        parse_llvm_major(&version).with_context(|| format!("{self} names no LLVM version: {version}"))
    }

    /// Its rustc.
    pub(crate) fn rustc(self) -> Command {
        match self {
            Self::Nightly => rustup("rustc"),
            Self::Debian => {
                let mut command = clean(Command::new(DEBIAN_RUSTC));
                command.env("RUSTC_BOOTSTRAP", "1");
                command
            }
        }
    }

    /// Its cargo, in the workspace's folder.
    pub(crate) fn cargo(self) -> Command {
        match self {
            Self::Nightly => rustup("cargo"),
            Self::Debian => debian("/usr/bin/cargo"),
        }
    }

    /// Its `cargo clippy`, where it is installed.
    pub(crate) fn clippy(self) -> Option<Command> {
        let program = || match self {
            Self::Nightly => rustup("cargo-clippy"),
            // By its path: cargo would find rustup's `cargo-clippy` first.
            Self::Debian => debian("/usr/bin/cargo-clippy"),
        };
        let works = program().arg("--version").output().is_ok_and(|run| run.status.success());
        works.then(|| {
            let mut command = program();
            command.arg("clippy");
            command
        })
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nightly => "rustup's nightly with rust-src",
            Self::Debian => "Debian's rustc-web",
        })
    }
}

/// A compiler and a linker that reads its bitcode.
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
}

impl Toolchain {
    /// The first pair that works on this machine.
    pub(crate) fn detect() -> Result<Option<Self>> {
        for compiler in [Compiler::Nightly, Compiler::Debian] {
            if !compiler.present() {
                continue;
            }
            if let Some(linker) = linker::find(compiler)? {
                return Ok(Some(Self { compiler, linker }));
            }
        }
        Ok(None)
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} and {}", self.compiler, self.linker.display())
    }
}

/// A program of rustup's nightly.
pub(crate) fn rustup<P: AsRef<OsStr>>(program: P) -> Command {
    let mut command = clean(Command::new("rustup"));
    // Asking for a toolchain that is not there must fail, not install one.
    command
        .env("RUSTUP_AUTO_INSTALL", "0")
        .current_dir(workspace::root())
        .args(["run", "nightly"])
        .arg(program);
    command
}

/// A program of Debian's set, told to use that set.
fn debian(program: &str) -> Command {
    let mut command = clean(Command::new(program));
    command
        .current_dir(workspace::root())
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO", "/usr/bin/cargo")
        .env("RUSTC", DEBIAN_RUSTC);
    command
}

/// `command` without what an outer cargo left in the environment.
fn clean(mut command: Command) -> Command {
    for variable in INHERITED {
        command.env_remove(variable);
    }
    command
}

/// Whether `version`, as `rustc --version` prints it, is `oldest` or newer.
fn is_recent(version: &str, oldest: &str) -> bool {
    let numbers = |version: &str| {
        let mut parts = version.split(['.', '-', ' ']).map(|part| part.parse::<u32>().ok());
        Some((parts.next()??, parts.next()??))
    };
    let found = version.strip_prefix("rustc ").and_then(numbers);
    found.is_some() && found >= numbers(oldest)
}

/// The major version in the line `LLVM version: 22.1.8` of `rustc -vV`.
fn parse_llvm_major(version: &str) -> Option<u32> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_of_an_old_release_is_none() {
        assert!(is_recent("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)", "1.95"));
        assert!(is_recent("rustc 1.97.0-nightly (e50aa6fba 2026-05-19)", "1.95"));
        assert!(is_recent("rustc 2.0.0", "1.95"));
        assert!(!is_recent("rustc 1.85.0 (4d91de4e4 2025-02-17)", "1.95"));
        assert!(!is_recent("", "1.95"));
    }

    #[test]
    fn the_llvm_version_is_found_among_rustc_s_lines() {
        let version =
            "rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(parse_llvm_major(version), Some(22));
        assert_eq!(parse_llvm_major("rustc 1.96.0"), None);
    }
}
