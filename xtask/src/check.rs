//! `cargo xtask check`: what a change must pass before it is merged.
//! Format, lints of both halves with warnings denied, licences, tests, and documents that are made from the code.

use anyhow::Result;

use crate::{
    build, deny, kernels, metrics_doc, packages, setup, step, test, toolchain::Compiler,
    toolchain::Toolchain, workspace,
};

/// The package with clippy for Debian's compiler.
const DEBIAN_CLIPPY: &str = "rust-web-clippy";

/// Runs all checks, with `end_to_end` also the tests that load programs.
pub(crate) fn check(end_to_end: bool) -> Result<()> {
    if end_to_end {
        workspace::require_root("check --end-to-end", "check --end-to-end")?;
    }
    step::run("format", &mut workspace::cargo(["fmt", "--all", "--check"]))?;
    step::run(
        "lints",
        &mut workspace::cargo(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
    )?;
    deny::deny()?;
    kernels::say_if_out_of_date()?;
    let toolchain = setup::setup(end_to_end)?;
    lint_kernel_half(&toolchain)?;
    build::build(&toolchain, &["observer"])?;
    metrics_doc::compare(&workspace::agent())?;
    test::unit()?;
    if end_to_end { test::end_to_end(&toolchain) } else { Ok(()) }
}

/// Lints the kernel half with the compiler that builds it.
fn lint_kernel_half(toolchain: &Toolchain) -> Result<()> {
    if toolchain.compiler == Compiler::Debian && workspace::is_root() {
        packages::install("check", &[DEBIAN_CLIPPY])?;
    }
    let Some(mut clippy) = toolchain.compiler.clippy() else {
        let mut cargo = toolchain.compiler.cargo();
        cargo.arg("check");
        build::kernel_options(&mut cargo, toolchain, build::KERNEL_OBJECTS, "-Dwarnings")?;
        let title = format!("warnings of the kernel half ({} has no clippy)", toolchain.compiler);
        return step::run(&title, &mut cargo);
    };
    clippy.arg("--release");
    build::kernel_options(&mut clippy, toolchain, build::KERNEL_OBJECTS, "")?;
    clippy.args(["--", "--deny", "warnings"]);
    step::run("lints of the kernel half", &mut clippy)
}
