//! `observer config`: the effective configuration, with comments.
//! Its output is a configuration file.

use std::io::Write;

use crate::config::Config;

/// Prints the configuration as TOML.
pub fn config(out: &mut impl Write, config: &Config) -> anyhow::Result<()> {
    out.write_all(config.to_commented_toml()?.as_bytes())?;
    Ok(())
}
