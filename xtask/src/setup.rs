//! `cargo xtask setup`: installs what the build and the tests need, and only what is missing.
//! A toolchain that works is used as it is; where there is none, Debian's is installed.

use anyhow::{Result, bail};

use crate::{
    apps, linker, musl, nodejs, packages, python, step,
    toolchain::{self, Compiler, DEBIAN_COMPILER, Toolchain},
};

/// What to do by hand where nothing can be installed.
const BY_HAND: &str = "run `rustup toolchain install \
    nightly --component rust-src` and install a bpf-linker built with the LLVM version that `rustc +nightly -vV` names";

/// Makes sure that an eBPF toolchain is there, with `tests` also what the end-to-end tests start; says which it is.
pub(crate) fn setup(tests: bool) -> Result<Toolchain> {
    let toolchain = match Toolchain::detect()? {
        Some(toolchain) => toolchain,
        None => install()?,
    };
    step::say(&format!("eBPF toolchain: {toolchain}"));
    if tests {
        install_for_tests()?;
    }
    Ok(toolchain)
}

/// Installs what the end-to-end tests start.
pub(crate) fn install_for_tests() -> Result<()> {
    packages::install_test_tools()?;
    python::install()?;
    apps::install()?;
    nodejs::install()?;
    musl::install()
}

/// Installs Debian's compiler and a linker for it.
fn install() -> Result<Toolchain> {
    if !packages::available() {
        bail!("no eBPF toolchain is here, and this is no Debian to install one on: {BY_HAND}");
    }
    let compiler = Compiler::Debian;
    if !compiler.present() {
        packages::install_newest("setup", DEBIAN_COMPILER)?;
    }
    if !compiler.present() {
        bail!(
            "Debian's rustc-web here is older than {}, or lacks the library's source: {BY_HAND}",
            toolchain::OLDEST
        );
    }
    let linker = match linker::find(compiler)? {
        Some(linker) => linker,
        None => linker::install(compiler)?,
    };
    Ok(Toolchain { compiler, linker })
}
