//! Licences, sources and banned crates of everything that is built in, by cargo-deny and `deny.toml`.
//! Only where cargo-deny is installed: it is larger than all that it looks at, and takes longest to build.

use std::path::PathBuf;

use anyhow::Result;

use crate::{step, workspace};

/// What needs no network. Advisories do: the comment in `deny.toml` says how to look at them.
const CHECKS: [&str; 3] = ["bans", "licenses", "sources"];

/// Runs it, or says that it is not there.
pub(crate) fn deny() -> Result<()> {
    let Some(program) = find() else {
        step::say(
            "licences and sources of crates left out: `cargo install cargo-deny --locked` has them looked at",
        );
        return Ok(());
    };
    let mut command = std::process::Command::new(program);
    command.current_dir(workspace::root()).args(["--offline", "--log-level", "error", "check"]).args(CHECKS);
    step::run("licences, sources and banned crates", &mut command)
}

/// The one in PATH, or among the build's own tools.
fn find() -> Option<PathBuf> {
    let own = workspace::target_dir().join("tools/bin/cargo-deny");
    workspace::find_program("cargo-deny").or_else(|| own.is_file().then_some(own))
}
