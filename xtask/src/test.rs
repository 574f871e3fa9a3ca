//! `cargo xtask test`: every test there is, in the order of what a failure tells.
//! Unit tests of both halves first, then other kernels in an emulator, then the end-to-end tests, which load the programs
//! and so need root.

use anyhow::Result;

use crate::{build, kernels, python, setup, step, toolchain::Toolchain, workspace};

/// Runs all tests; without root the end-to-end tests are left out, which one line says.
pub(crate) fn test() -> Result<()> {
    let root = workspace::is_root();
    let toolchain = setup::setup(root)?;
    build::build(&toolchain, &["observer"])?;
    unit()?;
    kernels::usual()?;
    if root {
        return end_to_end(&toolchain);
    }
    step::say("end-to-end tests left out: they need root; run `sudo -E env PATH=\"$PATH\" cargo xtask test`");
    Ok(())
}

/// The unit tests of every package, and of the kernel half's library on the host.
pub(crate) fn unit() -> Result<()> {
    step::run(
        "unit tests",
        &mut workspace::cargo(["test", "--workspace", "--exclude", "tests", "--exclude", "observer-ebpf"]),
    )?;
    step::run(
        "unit tests of the test helpers",
        &mut workspace::cargo(["test", "--package", "tests", "--lib"]),
    )?;
    step::run(
        "unit tests of the kernel half",
        &mut workspace::cargo(["test", "--package", "observer-ebpf", "--lib"]),
    )
}

/// The end-to-end tests against the agent that `build` made.
pub(crate) fn end_to_end(toolchain: &Toolchain) -> Result<()> {
    let neighbour = build::neighbour_object(toolchain)?;
    let mut cargo = workspace::cargo(["test", "--package", "tests", "--no-fail-fast", "--test", "*"]);
    // One at a time: the tests count what the whole agent does, and two would share the machine's two cores.
    cargo.args(["--", "--test-threads=1"]).env("OBSERVER_BIN", workspace::agent());
    cargo.env("OBSERVER_NEIGHBOUR_OBJECT", neighbour).env("OBSERVER_PYTHON_PACKAGES", python::folder());
    step::run("end-to-end tests", &mut cargo)
}
