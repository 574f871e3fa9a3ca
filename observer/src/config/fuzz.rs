//! What must hold for any configuration file.
//! Its errors are read by operators, so that none may be a panic.

#![expect(clippy::missing_panics_doc, reason = "a panic tells of a finding")]

use std::path::Path;

use super::Config;

/// A configuration that is taken is shown as a file that gives the same.
pub fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(config) = Config::parse(&text, Path::new("observer.toml")) else { return };
    let shown = config.to_commented_toml().unwrap_or_else(|error| panic!("{error:#}"));
    let read =
        Config::parse(&shown, Path::new("shown.toml")).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    let again = read.to_commented_toml().unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(shown, again);
}
