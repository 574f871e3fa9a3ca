//! Puts the kernel object beside the agent's own code, so that the agent is one binary.
//! `cargo xtask build` names the object in `OBSERVER_EBPF_OBJECT`; without one an empty file stands in its place.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// Names the object that `cargo xtask build` made.
const OBJECT_VARIABLE: &str = "OBSERVER_EBPF_OBJECT";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OBJECT_VARIABLE}");
    let out_dir = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let embedded = Path::new(&out_dir).join("observer-ebpf.o");
    let Some(object) = object() else {
        // Plain `cargo check`, clippy and rust-analyzer must work where no BPF toolchain is; the agent refuses to start.
        return fs::write(embedded, []);
    };
    println!("cargo::rerun-if-changed={}", object.display());
    let bytes = fs::read(&object).map_err(|error| {
        io::Error::new(error.kind(), format!("{OBJECT_VARIABLE}: cannot read {}: {error}", object.display()))
    })?;
    fs::write(embedded, bytes)
}

/// The object to embed: the one that is named, else the one of the last `cargo xtask build`, else none.
fn object() -> Option<PathBuf> {
    if let Some(named) = env::var_os(OBJECT_VARIABLE) {
        return Some(PathBuf::from(named));
    }
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let built = target.join("ebpf/bpfel-unknown-none/release/observer-ebpf");
    // A path that is not there would make cargo run this script at every build.
    built.is_file().then_some(built)
}
