//! Every metric of the agent by collector, without an agent: what the reference is made from.
//! A collector that is not here fails the end-to-end test that compares a scrape with the reference.

use crate::{
    collectors::{Metric, agent, container, kernel, nodejs, over_budget, process, target, tcp},
    exchanges::{app_events, requests, streams, upstream},
};

/// Each collector's name and metrics, in the order of a scrape.
pub fn reference() -> [(&'static str, &'static [Metric]); 12] {
    [
        ("target", &target::METRICS),
        ("tcp", &tcp::METRICS),
        ("http", &requests::METRICS),
        ("streams", &streams::METRICS),
        ("app_events", &app_events::METRICS),
        ("upstream", &upstream::METRICS),
        ("process", &process::METRICS),
        ("nodejs", &nodejs::METRICS),
        ("over_budget", &over_budget::METRICS),
        ("container", &container::METRICS),
        ("kernel", &kernel::METRICS),
        ("agent", &agent::METRICS),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::collectors::{Kind, metric::full_name};

    #[test]
    fn names_follow_the_rules_and_are_unique() {
        let mut seen = HashSet::new();
        for (collector, metrics) in reference() {
            assert!(!metrics.is_empty(), "{collector}");
            for metric in metrics {
                let name = full_name(metric, "chat");
                assert_eq!(
                    name.ends_with("_total"),
                    metric.kind == Kind::Counter,
                    "{name}: only counters end in _total"
                );
                assert!(metric.help.ends_with('.'), "{name}: help is a sentence");
                assert!(seen.insert(name.clone()), "{name} is declared twice");
            }
        }
    }
}
