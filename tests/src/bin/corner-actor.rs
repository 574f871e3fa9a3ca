//! The end of connections that is the target's in the tests of corners; see `tests::corners::actor`.
//! It lives until it is killed.

use std::path::Path;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let socket = std::env::args_os().nth(1).context("which socket do orders come to?")?;
    tests::corners::actor::obey(Path::new(&socket))
}
