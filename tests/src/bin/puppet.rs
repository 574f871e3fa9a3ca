//! A process in a target, moved by a test through its standard input; see `tests::puppet`.
//! It ends with its input.

use std::io;

fn main() -> anyhow::Result<()> {
    tests::puppet::obey(io::stdin().lock(), io::stdout().lock())
}
