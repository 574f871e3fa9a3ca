//! The Prometheus text format, read into a map from series to value.
//! Format: Prometheus documentation, "Exposition formats", text-based format 0.0.4.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// A metric's name and its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// As exposed, for example `chat_tcp_connections`.
    pub name: String,
    /// Label names and unescaped values.
    pub labels: BTreeMap<String, String>,
}

impl Series {
    /// Whether it has this name and, among others, these labels.
    pub fn matches(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let has = |(label, value): &(&str, &str)| self.labels.get(*label).is_some_and(|own| own == value);
        self.name == name && labels.iter().all(has)
    }
}

/// What one scrape gave.
#[derive(Clone, Debug, Default)]
pub struct Metrics(BTreeMap<Series, f64>);

impl Metrics {
    /// Reads a scrape; an error names the line.
    pub fn parse(text: &str) -> Result<Self> {
        let mut series = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, value) = sample(line).with_context(|| format!("not a sample: {line}"))?;
            if series.insert(key, value).is_some() {
                bail!("the same series twice: {line}");
            }
        }
        Ok(Self(series))
    }

    /// The value of the one series with this name and, among others, these labels; none or several give `None`.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut matching = self.matching(name, labels);
        let (_, value) = matching.next()?;
        matching.next().is_none().then_some(value)
    }

    /// The sum over all series with this name and, among others, these labels; zero where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // Not `sum()`, which is minus zero where there is nothing.
        self.matching(name, labels).fold(0.0, |sum, (_, value)| sum + value)
    }

    /// The same sum of counts, which are whole numbers.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are far below 2^53")]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.sum(name, labels).round() as u64
    }

    /// All series with this name and, among others, these labels.
    pub fn matching(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = (&Series, f64)> {
        self.0
            .iter()
            .filter(move |(series, _)| series.matches(name, labels))
            .map(|(series, value)| (series, *value))
    }

    /// The series whose label has this value.
    #[must_use]
    pub fn only(&self, label: &str, value: &str) -> Self {
        let has = |series: &Series| series.labels.get(label).is_some_and(|own| own == value);
        let series = self.iter().filter(|(series, _)| has(series));
        Self(series.map(|(series, value)| (series.clone(), value)).collect())
    }

    /// Every series with its value, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&Series, f64)> {
        self.0.iter().map(|(series, value)| (series, *value))
    }
}

/// `name{label="value",…} 1.5`, with a timestamp allowed after it.
fn sample(line: &str) -> Option<(Series, f64)> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.trim().to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((Series { name: name.to_owned(), labels }, value))
}

/// A label value up to its closing quote, unescaped, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(index + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = "# HELP chat_tcp_connections Open.\n# TYPE chat_tcp_connections gauge\n\
        chat_tcp_connections{container=\"a\",direction=\"inbound\",peer=\"\"} 3\n\
        chat_tcp_connections{container=\"a\",direction=\"outbound\",peer=\"x}\\\",\\\\\\n\"} 4\n\
        up 1e3 1700000000000\nodd +Inf\n";

    #[test]
    fn labels_are_matched_and_unescaped() {
        let metrics = Metrics::parse(SCRAPE).unwrap();
        assert_eq!(metrics.get("chat_tcp_connections", &[("direction", "inbound")]), Some(3.0));
        assert_eq!(metrics.get("chat_tcp_connections", &[("container", "a")]), None);
        assert!((metrics.sum("chat_tcp_connections", &[("container", "a")]) - 7.0).abs() < f64::EPSILON);
        assert_eq!(metrics.get("chat_tcp_connections", &[("peer", "x}\",\\\n")]), Some(4.0));
        assert_eq!(metrics.get("up", &[]), Some(1000.0));
        assert_eq!(metrics.get("odd", &[]), Some(f64::INFINITY));
        assert_eq!(metrics.iter().count(), 4);
    }

    #[test]
    fn what_is_no_sample_or_comes_twice_is_refused() {
        for bad in ["name", "name{a=\"b} 1", "name{a=\"b\"} one", "name 1\nname 2"] {
            assert!(Metrics::parse(bad).is_err(), "{bad}");
        }
    }
}
