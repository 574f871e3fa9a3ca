//! Reading the file, and errors that name file, line, column, key and what is allowed.
//! Flags are laid over the result by the command line.

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{Config, reference};
use crate::targets::selector::Selector;

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
}

/// A place in a file, printed as compilers do: `observer.toml:3:10: targets.linger: `.
#[derive(Debug)]
pub struct Place {
    /// As given with `--config`.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Section and name, where the place belongs to a key.
    pub key: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, key } = self;
        write!(formatter, "{}:{line}:{column}: ", file.display())?;
        key.iter().try_for_each(|key| write!(formatter, "{key}: "))
    }
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
        key = path_to(document.get_ref(), &span).map(|path| path.join("."));
        if key.as_deref() == Some("targets.select") {
            span = bad_selector(document.get_ref()).unwrap_or(span);
        }
    }
    let allowed = key.as_deref().and_then(reference::find).map(|key| key.allowed);
    let before = text.get(..span.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let place = Place {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before.chars().count() - before[..line_start].chars().count() + 1,
        key,
    };
    let message = error.message().trim_end();
    ConfigError::Invalid {
        place,
        message: match allowed {
            Some(allowed) => format!("{message}; allowed: {allowed}"),
            None => message.to_owned(),
        },
    }
}

/// The key that stands at a place or whose value does.
fn path_to<'t>(table: &'t DeTable<'_>, span: &Range<usize>) -> Option<Vec<&'t str>> {
    table.iter().find_map(|(name, value)| {
        let below = match value.get_ref() {
            DeValue::Table(below) => path_to(below, span),
            _ => None,
        };
        let here = || name.span() == *span || value.span().contains(&span.start);
        let mut path = below.or_else(|| here().then(Vec::new))?;
        path.insert(0, name.get_ref());
        Some(path)
    })
}

/// Where the first refused entry of `targets.select` stands: errors inside of a list carry the list's place.
fn bad_selector(document: &DeTable<'_>) -> Option<Range<usize>> {
    let targets = document.get("targets")?.get_ref().as_table()?;
    let entries = targets.get("select")?.get_ref().as_array()?;
    let good = |value: &DeValue<'_>| value.as_str().is_some_and(|text| text.parse::<Selector>().is_ok());
    let bad = entries.iter().find(|entry| !good(entry.get_ref()))?;
    Some(bad.span())
}
