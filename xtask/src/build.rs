//! `cargo xtask build`: the kernel object first, then the agent with the object inside it.
//! The object has a target folder of its own, so that the two builds do not undo each other's work.

use std::{env::consts::ARCH, path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{stack, step, toolchain::Toolchain, workspace};

/// The target of the kernel object; every architecture that is supported is little-endian.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// The program of the kernel half that the agent has inside.
const KERNEL_HALF: &str = "observer-ebpf";

/// Programs that do nothing, which the benchmark compares with.
const EMPTY: &str = "empty";

/// Programs that do what none can do without, for the same.
const FLOOR: &str = "floor";

/// Another tool's programs, which the end-to-end tests attach beside the agent's.
const NEIGHBOUR: &str = "neighbour";

/// All objects of the kernel half, for lints.
pub(crate) const KERNEL_OBJECTS: &[&str] = &[KERNEL_HALF, EMPTY, FLOOR, NEIGHBOUR];

/// Builds the object and then `packages` with their programs, optimised; returns the path of the agent.
/// One cargo run for each package: in a common one cargo would unite the features of their dependencies, and every
/// change between one and two packages would build those again.
pub(crate) fn build(toolchain: &Toolchain, packages: &[&str]) -> Result<PathBuf> {
    let object = kernel_object(toolchain)?;
    for package in packages {
        let mut cargo = workspace::cargo(["build", "--release", "--package", package]);
        step::run(&format!("building {package}"), cargo.env("OBSERVER_EBPF_OBJECT", &object))?;
    }
    Ok(workspace::agent())
}

/// Builds the kernel object, and sees that its programs have room on the stack; returns its path.
pub(crate) fn kernel_object(toolchain: &Toolchain) -> Result<PathBuf> {
    let object = object(toolchain, "building the kernel object", KERNEL_HALF)?;
    stack::check(&object)?;
    Ok(object)
}

/// Builds the object with the programs that do nothing; returns its path.
pub(crate) fn empty_object(toolchain: &Toolchain) -> Result<PathBuf> {
    object(toolchain, "building the empty programs", EMPTY)
}

/// Builds the object with the programs that do what none can do without; returns its path.
pub(crate) fn floor_object(toolchain: &Toolchain) -> Result<PathBuf> {
    object(toolchain, "building the programs that do the least", FLOOR)
}

/// Builds the object with another tool's programs; returns its path.
pub(crate) fn neighbour_object(toolchain: &Toolchain) -> Result<PathBuf> {
    object(toolchain, "building the programs of a neighbour", NEIGHBOUR)
}

fn object(toolchain: &Toolchain, title: &str, name: &str) -> Result<PathBuf> {
    let mut cargo = toolchain.compiler.cargo();
    cargo.args(["build", "--release"]);
    kernel_options(&mut cargo, toolchain, &[name], "")?;
    step::run(title, &mut cargo)?;
    Ok(kernel_target_dir().join(BPF_TARGET).join("release").join(name))
}

/// Tells `cargo` of the kernel half: package, `objects`, target, linker and flags, and `more_flags` for the compiler.
pub(crate) fn kernel_options(
    cargo: &mut Command,
    toolchain: &Toolchain,
    objects: &[&str],
    more_flags: &str,
) -> Result<()> {
    if !matches!(ARCH, "x86_64" | "aarch64") {
        bail!("observer is built for x86_64 and aarch64, and this machine is {ARCH}");
    }
    let linker = toolchain.linker.display();
    cargo
        .args(["--package", "observer-ebpf", "--features", "kernel"])
        .args(objects.iter().flat_map(|object| ["--bin", object]))
        .args(["-Zbuild-std=core", "--target", BPF_TARGET, "--target-dir"])
        .arg(kernel_target_dir())
        // BTF is made from the debug information; `bpf_target_arch` selects the layout of registers in aya-ebpf. Without
        // the feature a word of text is put together from eight loads of a byte; the verifier accepts unaligned loads
        // on both architectures. Constants that are lifted out of loops would take the stack, of which there are 512 bytes.
        .env(
            "RUSTFLAGS",
            format!(
                "-Clinker={linker} -Clink-arg=--btf -Clink-arg=--cpu-features=+allows-misaligned-mem-access \
                 -Clink-arg=--llvm-args=-disable-machine-licm -Cdebuginfo=2 --cfg=bpf_target_arch=\"{ARCH}\" {more_flags}"
            ),
        );
    Ok(())
}

/// The kernel half's own target folder.
fn kernel_target_dir() -> PathBuf {
    workspace::target_dir().join("ebpf")
}
