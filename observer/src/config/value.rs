//! Values that are narrower than their TOML types: durations, prefixes, levels, sizes.
//! What is refused is said by the value itself; what is allowed stands in the reference.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line, for log collectors.
    Json,
}

/// Level names, from nothing to everything.
pub const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Takes a metric prefix that is a valid start of a Prometheus name.
///
/// A colon is refused although Prometheus' grammar has it: it is kept for recording rules
/// (<https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels>).
pub fn prefix(text: &str) -> Result<String, String> {
    let mut characters = text.chars();
    let starts = characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    if starts && characters.all(|other| other.is_ascii_alphanumeric() || other == '_') {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` cannot start the name of a metric"))
    }
}

/// Takes a log filter: comma-separated levels, each bare or as `MODULE=LEVEL`.
///
/// The subscriber's own parser would take a mistyped level for a module's name and log everything of it.
pub fn level(text: &str) -> Result<String, String> {
    for directive in text.split(',') {
        let level = match directive.split_once('=') {
            Some(("", _)) => return Err(format!("`{directive}` names no module before `=`")),
            Some((_, level)) => level,
            None => directive,
        };
        if !LEVELS.contains(&level) {
            return Err(format!("`{level}` is no level"));
        }
    }
    Ok(text.to_owned())
}

fn string<'de, D: Deserializer<'de>>(
    deserializer: D,
    parse: fn(&str) -> Result<String, String>,
) -> Result<String, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn deserialize_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    string(deserializer, prefix)
}

pub(super) fn deserialize_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    string(deserializer, level)
}

pub(super) fn between<'de, D: Deserializer<'de>, const LEAST: u32, const MOST: u32>(
    deserializer: D,
) -> Result<u32, D::Error> {
    let number = u32::deserialize(deserializer)?;
    if (LEAST..=MOST).contains(&number) {
        Ok(number)
    } else {
        Err(D::Error::custom(format_args!("{number} is not between {LEAST} and {MOST}")))
    }
}

/// The kernel wants a power of two that is a multiple of the page size (`ringbuf_map_alloc`, kernel/bpf/ringbuf.c).
pub(super) fn deserialize_ring_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let bytes = between::<D, 4096, 0x4000_0000>(deserializer)?;
    if bytes.is_power_of_two() {
        Ok(bytes)
    } else {
        Err(D::Error::custom(format_args!("{bytes} is no power of two")))
    }
}

/// Durations as `5m` or `1h 30m`: at most a year, so that adding one to a time cannot overflow; zero is allowed.
pub(super) mod duration {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(in crate::config) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let duration = humantime::parse_duration(&text)
            .map_err(|error| D::Error::custom(format_args!("`{text}` is no duration ({error})")))?;
        if duration > Duration::from_hours(365 * 24) {
            return Err(D::Error::custom(format_args!("`{text}` is more than 365days")));
        }
        Ok(duration)
    }
}

/// Durations that something repeats in or waits for: at least a millisecond, at most a day.
pub(super) mod period {
    use std::time::Duration;

    use serde::{Deserializer, de::Error as _};

    pub(in crate::config) use super::duration::serialize;

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let duration = super::duration::deserialize(deserializer)?;
        if (Duration::from_millis(1)..=Duration::from_hours(24)).contains(&duration) {
            Ok(duration)
        } else {
            let text = humantime::format_duration(duration);
            Err(D::Error::custom(format_args!("`{text}` is not between 1ms and 1day")))
        }
    }
}

/// Selectors as a list of strings.
pub(super) mod selectors {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::targets::selector::Selector;

    pub(in crate::config) fn serialize<S: Serializer>(
        selectors: &[Selector],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(selectors.iter().map(Selector::text))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Selector>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

/// Networks as a list of strings; an address alone is the network of that one address.
pub(super) mod networks {
    use std::net::IpAddr;

    use ipnet::IpNet;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(in crate::config) fn serialize<S: Serializer>(
        networks: &[IpNet],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(networks.iter().map(IpNet::to_string))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<IpNet>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let network = |text: &String| match text.parse::<IpAddr>() {
            Ok(address) => Ok(IpNet::from(address)),
            Err(_) => text.parse().map_err(|_| D::Error::custom(format_args!("`{text}` is no network"))),
        };
        texts.iter().map(network).collect()
    }
}
