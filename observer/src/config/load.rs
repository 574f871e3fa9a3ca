//! Reading the file, and errors that name file, line, column, key and what is allowed: all that there are, at once.
//! Flags are laid over the result; what only the whole can tell is looked at behind them.

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
};

use serde::Deserialize as _;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::{Config, reference};
use crate::{
    place::{Place, key_at, span_of},
    profiles::{ProfileError, Profiles},
    targets::selector::{Selector, UnknownProfile},
};

/// Mistakes that are told of at the most.
const MOST: usize = 50;

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
    /// A target names a profile that there is none of.
    #[error(transparent)]
    UnknownProfile(#[from] UnknownProfile),
    /// Several of these.
    #[error("{} mistakes:\n{}", .0.len(), Lines(.0))]
    Several(Vec<Self>),
    /// One of the files that `profiles.files` names is no profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// A line each.
struct Lines<'a>(&'a [ConfigError]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.0.iter().map(|mistake| format!("  {mistake}"));
        formatter.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

impl Config {
    /// The configuration of a file, or the defaults, with `lay` laid over it. Fails with all mistakes that there are.
    pub fn load(file: Option<&Path>, lay: impl FnOnce(&mut Self)) -> Result<Self, ConfigError> {
        let unreadable = |file: &Path, source| ConfigError::Unreadable { file: file.to_owned(), source };
        let text = match file {
            Some(file) => std::fs::read_to_string(file).map_err(|source| unreadable(file, source))?,
            None => String::new(),
        };
        let source = Source { file: file.unwrap_or_else(|| Path::new("")), text: &text };
        let (mut config, mut mistakes) = source.parse();
        lay(&mut config);
        mistakes.extend(config.contradictions().map(ConfigError::Contradiction));
        mistakes.extend(source.absent_files(&config));
        match Profiles::load(&config.profiles.files) {
            Ok(profiles) => mistakes.extend(source.wrong_apps(&config.targets.select, &profiles)),
            Err(error) => mistakes.push(error.into()),
        }
        only_or_all(mistakes).map_or(Ok(config), Err)
    }

    /// Parses a file's text; `file` is only named in errors.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let (config, mistakes) = Source { file, text }.parse();
        only_or_all(mistakes).map_or(Ok(config), Err)
    }
}

fn only_or_all(mut mistakes: Vec<ConfigError>) -> Option<ConfigError> {
    if mistakes.len() > 1 { Some(ConfigError::Several(mistakes)) } else { mistakes.pop() }
}

/// A file's text.
struct Source<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    /// What the text says, without what is wrong in it, and what that is.
    fn parse(&self) -> (Config, Vec<ConfigError>) {
        let (mut document, errors) = DeTable::parse_recoverable(self.text);
        // What follows from a syntax error would be told of too, as if it were a mistake of its own.
        let broken = errors.iter().any(|error| error.message() != DUPLICATE);
        let mut mistakes: Vec<_> = errors.iter().map(|error| self.invalid(error, None)).collect();
        if broken {
            mistakes.truncate(1);
            return (Config::default(), mistakes);
        }
        self.take_out_selectors(document.get_mut(), &mut mistakes);
        while mistakes.len() < MOST {
            match Config::deserialize(Deserializer::from(document.clone())) {
                Ok(config) => return (config, mistakes),
                Err(error) => {
                    let key = key_at(document.get_ref(), &error.span().unwrap_or(0..0));
                    let removed = key.as_deref().is_some_and(|key| remove(document.get_mut(), key));
                    mistakes.push(self.invalid(&error, key));
                    if !removed {
                        break;
                    }
                }
            }
        }
        (Config::default(), mistakes)
    }

    /// Takes refused entries out of `targets.select`, each with its own place: errors inside of a list carry the list's.
    fn take_out_selectors(&self, document: &mut DeTable<'_>, mistakes: &mut Vec<ConfigError>) {
        let Some(targets) = document.get_mut("targets") else { return };
        let DeValue::Table(targets) = targets.get_mut() else { return };
        let Some(select) = targets.get_mut("select") else { return };
        let DeValue::Array(entries) = select.get_mut() else { return };
        let all: Vec<_> = entries.iter().cloned().collect();
        *entries = DeArray::new();
        for entry in all {
            let refused = entry.get_ref().as_str().and_then(|text| text.parse::<Selector>().err());
            let Some(error) = refused else {
                entries.push(entry);
                continue;
            };
            let place = Place::new(self.file, self.text, &entry.span(), Some("targets.select".to_owned()));
            let allowed = reference::find("targets.select").map_or("", |key| key.allowed);
            mistakes.push(ConfigError::Invalid { place, message: format!("{error}; allowed: {allowed}") });
        }
    }

    fn invalid(&self, error: &toml::de::Error, key: Option<String>) -> ConfigError {
        let span = error.span().unwrap_or(0..0);
        let allowed = key.as_deref().and_then(reference::find).map(|key| key.allowed);
        let message = error.message().trim_end();
        let message = match (allowed, self.text.get(span.clone())) {
            (None, Some(name)) if message == DUPLICATE => {
                format!("{message} `{name}`: it stands here twice; keep one")
            }
            (Some(allowed), _) => format!("{message}; allowed: {allowed}"),
            (None, _) => message.to_owned(),
        };
        ConfigError::Invalid { place: Place::new(self.file, self.text, &span, key), message }
    }

    /// A mistake at the value of a key, or at one of its entries, as far as it stands in the file.
    fn at(&self, key: &str, entry: Option<&str>, message: String) -> ConfigError {
        let (document, _) = DeTable::parse_recoverable(self.text);
        let span = span_of(document.get_ref(), key, entry).unwrap_or(0..0);
        ConfigError::Invalid { place: Place::new(self.file, self.text, &span, Some(key.to_owned())), message }
    }

    /// Files that keys name and that do not exist.
    fn absent_files(&self, config: &Config) -> Vec<ConfigError> {
        let named = [
            ("tls.certificate", &config.tls.certificate),
            ("tls.key", &config.tls.key),
            ("tls.client_ca", &config.tls.client_ca),
            ("access.bearer_token_file", &config.access.bearer_token_file),
            ("access.users_file", &config.access.users_file),
        ];
        let absent = |path: &Path| {
            let missing =
                std::fs::metadata(path).err().filter(|error| error.kind() == io::ErrorKind::NotFound);
            missing.filter(|_| !path.as_os_str().is_empty())
        };
        let mistake = |(key, path): (&str, &PathBuf)| {
            let error = absent(path)?;
            Some(self.at(key, None, format!("cannot read {}: {error}", path.display())))
        };
        named.into_iter().filter_map(mistake).collect()
    }

    /// Targets with a profile that there is none of, and targets that are given two.
    fn wrong_apps(&self, selectors: &[Selector], profiles: &Profiles) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        let mut apps: HashMap<&str, &Selector> = HashMap::new();
        for selector in selectors {
            if let Err(error) = selector.check(profiles) {
                let written = self.text.contains(selector.text());
                mistakes.push(if written {
                    self.at("targets.select", Some(selector.text()), error.to_string())
                } else {
                    error.into()
                });
            }
            let first = *apps.entry(selector.without_app()).or_insert(selector);
            if first.app != selector.app {
                let message =
                    format!("target `{selector}`: `{first}` gives it another app already; keep one");
                mistakes.push(self.at("targets.select", Some(selector.text()), message));
            }
        }
        mistakes
    }
}

/// What the parser says of a key that stands twice in its table.
const DUPLICATE: &str = "duplicate key";

/// Takes a key out of a document; whether it was there.
fn remove(table: &mut DeTable<'_>, key: &str) -> bool {
    match key.split_once('.') {
        None => table.remove(key).is_some(),
        Some((first, rest)) => {
            let Some(value) = table.get_mut(first) else { return false };
            if let DeValue::Table(below) = value.get_mut() { remove(below, rest) } else { false }
        }
    }
}
