//! Reading the file, and errors that name file, line, column, key and what is allowed.
//! Flags are laid over the result by the command line.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{Config, reference};
use crate::{
    place::{Place, key_at},
    profiles::ProfileError,
    targets::selector::Selector,
};

/// Why there is no configuration; the agent exits with 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file was not read.
    #[error("cannot read the configuration {}: {source}; give a readable TOML file with --config", file.display())]
    Unreadable {
        /// As given with `--config`.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read and is not a configuration.
    #[error("{place}{message}")]
    Invalid {
        /// Where in the file.
        place: Place,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// Keys that cannot hold together.
    #[error("{0}")]
    Contradiction(&'static str),
    /// One of the files that `profiles.files` names is no profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

impl Config {
    /// Reads a file; what it does not say keeps its default.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { file: file.to_owned(), source };
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        Self::parse(&text, file)
    }

    /// Parses a file's text; `file` is only named in errors.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| invalid(text, file, &error))
    }
}

fn invalid(text: &str, file: &Path, error: &toml::de::Error) -> ConfigError {
    let mut span = error.span().unwrap_or(0..0);
    let mut key = None;
    // A file with a syntax error has no keys.
    if let Ok(document) = DeTable::parse(text) {
        key = key_at(document.get_ref(), &span);
        if key.as_deref() == Some("targets.select") {
            span = bad_selector(document.get_ref()).unwrap_or(span);
        }
    }
    let allowed = key.as_deref().and_then(reference::find).map(|key| key.allowed);
    let place = Place::new(file, text, &span, key);
    let message = error.message().trim_end();
    ConfigError::Invalid {
        place,
        message: match allowed {
            Some(allowed) => format!("{message}; allowed: {allowed}"),
            None => message.to_owned(),
        },
    }
}

/// Where the first refused entry of `targets.select` stands: errors inside of a list carry the list's place.
fn bad_selector(document: &DeTable<'_>) -> Option<Range<usize>> {
    let targets = document.get("targets")?.get_ref().as_table()?;
    let entries = targets.get("select")?.get_ref().as_array()?;
    let good = |value: &DeValue<'_>| value.as_str().is_some_and(|text| text.parse::<Selector>().is_ok());
    let bad = entries.iter().find(|entry| !good(entry.get_ref()))?;
    Some(bad.span())
}
