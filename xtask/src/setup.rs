//! `cargo xtask setup`: installs what the build and the tests need, and only what is missing.
//! A toolchain that works is used as it is; where there is none, Debian's is installed.

use anyhow::{Result, bail};

use crate::{
    apps, linker, nodejs, packages, python, step,
    toolchain::{Compiler, DEBIAN_COMPILER, Toolchain},
};

/// What to do by hand where nothing can be installed.
const BY_HAND: &str = "no eBPF toolchain is here, and this is no Debian to install one on: run `rustup toolchain install \
    nightly --component rust-src` and install a bpf-linker built with the LLVM version that `rustc +nightly -vV` names";

/// Makes sure that an eBPF toolchain is there, with `tests` also what the end-to-end tests start; says which it is.
pub(crate) fn setup(tests: bool) -> Result<Toolchain> {
    let toolchain = match Toolchain::detect()? {
        Some(toolchain) => toolchain,
        None => install()?,
    };
    step::say(&format!("eBPF toolchain: {toolchain}"));
    if tests {
        packages::install_test_tools()?;
        python::install()?;
        apps::install()?;
        nodejs::install()?;
    }
    Ok(toolchain)
}

/// Installs Debian's compiler and a linker for it.
fn install() -> Result<Toolchain> {
    if !packages::available() {
        bail!(BY_HAND);
    }
    packages::install("setup", DEBIAN_COMPILER)?;
    let compiler = Compiler::Debian;
    let linker = match linker::find(compiler)? {
        Some(linker) => linker,
        None => linker::install(compiler)?,
    };
    Ok(Toolchain { compiler, linker })
}
