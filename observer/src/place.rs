//! Where in a TOML file a mistake stands, for errors that name file, line, column and key.
//! The configuration and the profiles both show it.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

/// A place in a file, printed as compilers do: `observer.toml:3:10: targets.linger: `.
#[derive(Debug)]
pub struct Place {
    /// As the operator named it.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Section and name, where the place belongs to a key.
    pub key: Option<String>,
}

impl Place {
    /// The place of a span in a file's text.
    pub(crate) fn new(file: &Path, text: &str, span: &Range<usize>, key: Option<String>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.chars().count() - before[..line_start].chars().count() + 1,
            key,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, key } = self;
        write!(formatter, "{}:{line}:{column}: ", file.display())?;
        key.iter().try_for_each(|key| write!(formatter, "{key}: "))
    }
}

/// Where the value of a key stands, or its entry of this text.
pub(crate) fn span_of(document: &DeTable<'_>, key: &str, entry: Option<&str>) -> Option<Range<usize>> {
    let mut names = key.split('.');
    let mut value = document.get(names.next()?)?;
    for name in names {
        value = value.get_ref().as_table()?.get(name)?;
    }
    let entries = value.get_ref().as_array().into_iter().flatten();
    let found = entries.into_iter().find(|it| entry.is_some() && it.get_ref().as_str() == entry);
    Some(found.unwrap_or(value).span())
}

/// The key that stands at a place or whose value does: `targets.linger`, or `routes.path` in an array of tables.
pub(crate) fn key_at(document: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    path_to(document, span).map(|path| path.join("."))
}

fn path_to<'t>(table: &'t DeTable<'_>, span: &Range<usize>) -> Option<Vec<&'t str>> {
    table.iter().find_map(|(name, value)| {
        let below = match value.get_ref() {
            DeValue::Table(below) => path_to(below, span),
            DeValue::Array(entries) => entries
                .iter()
                .filter_map(|entry| entry.get_ref().as_table())
                .find_map(|below| path_to(below, span)),
            _ => None,
        };
        let here = || name.span() == *span || value.span().contains(&span.start);
        let mut path = below.or_else(|| here().then(Vec::new))?;
        path.insert(0, name.get_ref());
        Some(path)
    })
}
