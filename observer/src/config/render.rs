//! The effective configuration as TOML, each key under its comment.
//! What is printed is read back to the same configuration.

use std::fmt::Write as _;

use anyhow::Context as _;

use super::{Config, reference::KEYS};

/// Width of the printed comments.
const WIDTH: usize = 100;

impl Config {
    /// The configuration as a commented TOML file.
    pub fn to_commented_toml(&self) -> anyhow::Result<String> {
        let values = toml::Table::try_from(self).context("cannot write the configuration as TOML")?;
        let mut text = String::new();
        let mut current = "";
        for key in KEYS {
            let (section, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
            if !text.is_empty() {
                text.push('\n');
            }
            if section != current {
                current = section;
                writeln!(text, "[{section}]")?;
            }
            let table = match section {
                "" => Some(&values),
                section => values.get(section).and_then(toml::Value::as_table),
            };
            let value = table
                .and_then(|table| table.get(name))
                .with_context(|| format!("the configuration has no key {}", key.path))?;
            comment(&mut text, key.about);
            comment(&mut text, &format!("Allowed: {}", key.allowed));
            writeln!(text, "{name} = {value}")?;
        }
        Ok(text)
    }
}

/// Appends `prose` as comment lines.
fn comment(text: &mut String, prose: &str) {
    let mut width = 0;
    for word in prose.split_whitespace() {
        if width == 0 || width + 1 + word.len() > WIDTH {
            text.push_str(if width == 0 { "#" } else { "\n#" });
            width = 1;
        }
        text.push(' ');
        text.push_str(word);
        width += 1 + word.len();
    }
    text.push('\n');
}
