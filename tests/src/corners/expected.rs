//! What the metrics are to tell of what was played, figure by figure, and that they tell nothing else beside it.
//! A figure is a sum of series; where a time is expected it has a least and a most.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    thread,
    time::Duration,
};

use anyhow::{Result, bail};

use super::case::Role;
use crate::{agent::Agent, metrics::Metrics};

/// How long the last end may take to reach the metrics.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// How long it must stay as it was expected.
const STAYS: Duration = Duration::from_millis(50);

/// Requests of a target, by role.
const SERVED: &str = "chat_http_requests_total";
const CALLED: &str = "chat_upstream_requests_total";
/// Its streams.
const STREAMS: &str = "chat_streams_total";
/// What is missing in the counts.
const LOST: &str = "observer_records_lost_total";

/// A metric and labels, among others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Term {
    metric: String,
    labels: Vec<(&'static str, String)>,
}

impl Term {
    fn new<const N: usize>(metric: impl Into<String>, labels: [(&'static str, &str); N]) -> Self {
        let labels = labels.map(|(name, value)| (name, value.to_owned())).to_vec();
        Self { metric: metric.into(), labels }
    }

    fn of(&self, metrics: &Metrics) -> f64 {
        let labels: Vec<(&str, &str)> =
            self.labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        metrics.sum(&self.metric, &labels)
    }

    fn name(&self) -> String {
        let labels: Vec<String> =
            self.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        format!("{}{{{}}}", self.metric, labels.join(","))
    }
}

/// What a sum of series may be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Range {
    least: f64,
    most: f64,
}

/// All that is expected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    rows: BTreeMap<Vec<Term>, Range>,
    /// What adds up with what is said to be missing, and to how much.
    adding: BTreeSet<Term>,
    asked: f64,
}

impl Expected {
    /// Nothing that is a request, a stream or a loss.
    pub fn nothing() -> Self {
        Self::default()
    }

    fn and_between(mut self, terms: Vec<Term>, least: f64, most: f64) -> Self {
        let range = self.rows.entry(terms).or_default();
        range.least += least;
        range.most += most;
        self
    }

    fn and_exactly(self, term: Term, value: u64) -> Self {
        self.and_between(vec![term], value as f64, value as f64)
    }

    /// So many requests with this end.
    #[must_use]
    pub fn requests(self, role: Role, method: &str, route: &str, status: u16, count: u64) -> Self {
        let labels = [("method", method), ("route", route), ("status_code", &*format!("{status:03}"))];
        self.and_exactly(Term::new(family(role), labels), count)
    }

    /// All bodies of a route of the server together: bytes of the requests, and of the answers.
    #[must_use]
    pub fn bodies(self, method: &str, route: &str, requests: u64, answers: u64) -> Self {
        let labels = [("method", method), ("route", route)];
        self.and_exactly(Term::new("chat_http_request_size_bytes_sum", labels), requests)
            .and_exactly(Term::new("chat_http_response_size_bytes_sum", labels), answers)
    }

    /// All requests of a route together took between so many seconds.
    #[must_use]
    pub fn seconds(self, role: Role, method: &str, route: &str, least: f64, most: f64) -> Self {
        let metric = match role {
            Role::Server => "chat_http_request_duration_seconds_sum",
            Role::Client => "chat_upstream_request_duration_seconds_sum",
        };
        self.and_between(vec![Term::new(metric, [("method", method), ("route", route)])], least, most)
    }

    /// So many streams with this end.
    #[must_use]
    pub fn streams(self, kind: &str, route: &str, status: u16, outcome: &str, count: u64) -> Self {
        let status = status.to_string();
        let labels = [("kind", kind), ("route", route), ("status_code", &*status), ("outcome", outcome)];
        self.and_exactly(Term::new(STREAMS, labels), count)
    }

    /// All streams of a route together took between so many seconds.
    #[must_use]
    pub fn stream_seconds(self, kind: &str, route: &str, least: f64, most: f64) -> Self {
        let labels = [("kind", kind), ("route", route)];
        self.and_between(vec![Term::new("chat_stream_duration_seconds_sum", labels)], least, most)
    }

    /// Events or messages of a route's streams, from the target and to it.
    #[must_use]
    pub fn messages(self, kind: &str, route: &str, sent: u64, received: u64) -> Self {
        let term = |direction| {
            let labels = [("kind", kind), ("route", route), ("direction", direction)];
            Term::new("chat_stream_chunks_total", labels)
        };
        self.and_exactly(term("sent"), sent).and_exactly(term("received"), received)
    }

    /// Bytes of a route's streams, from the target and to it.
    #[must_use]
    pub fn stream_bytes(self, kind: &str, route: &str, sent: u64, received: u64) -> Self {
        let term = |direction| {
            let labels = [("kind", kind), ("route", route), ("direction", direction)];
            Term::new("chat_stream_bytes_total", labels)
        };
        self.and_exactly(term("sent"), sent).and_exactly(term("received"), received)
    }

    /// So many streams of a route had a first event, all together after so many seconds.
    #[must_use]
    pub fn first_events(self, kind: &str, route: &str, count: u64, least: f64, most: f64) -> Self {
        const NAME: &str = "chat_stream_time_to_first_event_seconds";
        let labels = [("kind", kind), ("route", route)];
        self.and_exactly(Term::new(format!("{NAME}_count"), labels), count).and_between(
            vec![Term::new(format!("{NAME}_sum"), labels)],
            least,
            most,
        )
    }

    /// Requests that are under way.
    #[must_use]
    pub fn in_flight(self, count: u64) -> Self {
        self.and_exactly(Term::new("chat_http_requests_in_flight", []), count)
    }

    /// Open connections.
    #[must_use]
    pub fn open(self, direction: &str, count: u64) -> Self {
        self.and_exactly(Term::new("chat_tcp_connections", [("direction", direction)]), count)
    }

    /// Connections that were opened, all of which have closed.
    #[must_use]
    pub fn opened_and_closed(self, direction: &str, count: u64) -> Self {
        let labels = [("direction", direction)];
        self.and_exactly(Term::new("chat_tcp_connections_opened_total", labels), count)
            .and_exactly(Term::new("chat_tcp_connections_closed_total", labels), count)
            .open(direction, 0)
    }

    /// Payload bytes that were taken for any of these protocols.
    #[must_use]
    pub fn l7_bytes(self, protocols: &[&str], count: u64) -> Self {
        let term = |protocol: &&str| Term::new("observer_l7_bytes_total", [("protocol", *protocol)]);
        let terms = protocols.iter().map(term).collect();
        self.and_between(terms, count as f64, count as f64)
    }

    /// Exchanges that are missing in the counts and said to be.
    #[must_use]
    pub fn lost(self, count: u64) -> Self {
        self.and_exactly(Term::new(LOST, []), count)
    }

    /// Each of so many exchanges of a method and route is counted with this status, or is said to be missing.
    #[must_use]
    pub fn requests_or_lost(
        mut self,
        role: Role,
        method: &str,
        route: &str,
        status: u16,
        count: u64,
    ) -> Self {
        let labels = [("method", method), ("route", route), ("status_code", &*format!("{status:03}"))];
        let counted = Term::new(family(role), labels);
        self.adding.insert(counted.clone());
        self.asked += count as f64;
        self.and_between(vec![counted], 0.0, count as f64)
    }

    /// Each of so many streams of a route is counted with any end, or is said to be missing.
    #[must_use]
    pub fn streams_or_lost(mut self, kind: &str, route: &str, count: u64) -> Self {
        let counted = Term::new(STREAMS, [("kind", kind), ("route", route)]);
        self.adding.insert(counted.clone());
        self.asked += count as f64;
        self.and_between(vec![counted], 0.0, count as f64)
    }

    /// Adds all that `other` expects.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.adding.extend(other.adding);
        self.asked += other.asked;
        other
            .rows
            .into_iter()
            .fold(self, |all, (terms, range)| all.and_between(terms, range.least, range.most))
    }

    /// With what nothing was said of: no other request, stream or loss, and nothing under way.
    fn complete(mut self) -> Self {
        for family in [SERVED, CALLED, STREAMS] {
            let own = self.rows.iter().filter(|(terms, _)| terms.len() == 1 && terms[0].metric == family);
            let (least, most) =
                own.fold((0.0, 0.0), |(least, most), (_, range)| (least + range.least, most + range.most));
            self = self.and_between(vec![Term::new(family, [])], least, most);
        }
        if self.asked > 0.0 {
            let mut terms: Vec<Term> = std::mem::take(&mut self.adding).into_iter().collect();
            terms.push(Term::new(LOST, []));
            let asked = self.asked;
            self = self.and_between(terms, asked, asked);
        } else if !self.rows.keys().any(|terms| terms[0].metric == LOST) {
            self = self.lost(0);
        }
        let gauges = [Term::new("chat_http_requests_in_flight", []), Term::new("chat_streams_active", [])];
        for gauge in gauges {
            let told = self.rows.keys().any(|terms| terms[0].metric == gauge.metric);
            if !told {
                self = self.and_exactly(gauge, 0);
            }
        }
        self
    }

    /// What differs, a line each.
    fn differences(&self, metrics: &Metrics) -> String {
        let mut text = String::new();
        for (terms, Range { least, most }) in &self.rows {
            let seen: f64 = terms.iter().map(|term| term.of(metrics)).sum();
            if seen < least - 1e-9 || seen > most + 1e-9 {
                let names: Vec<String> = terms.iter().map(Term::name).collect();
                let wanted = if (most - least).abs() < 1e-9 {
                    format!("{least}")
                } else {
                    format!("{least} to {most}")
                };
                let _ = writeln!(text, "{} is {seen} and not {wanted}", names.join(" + "));
            }
        }
        text
    }

    /// Waits until the agent tells all this, and nothing else beside it.
    pub fn wait(self, agent: &Agent) -> Result<Metrics> {
        let all = self.complete();
        let metrics = agent.scrape_until(SETTLED_WITHIN, |metrics| all.differences(metrics).is_empty())?;
        // What is too much may come after what is right.
        thread::sleep(STAYS);
        let metrics = if all.differences(&metrics).is_empty() { agent.scrape()? } else { metrics };
        let differences = all.differences(&metrics);
        if !differences.is_empty() {
            let mut told = String::new();
            for name in [SERVED, CALLED, STREAMS, LOST] {
                for (series, value) in metrics.matching(name, &[]).filter(|(_, value)| *value > 0.0) {
                    let _ = writeln!(told, "  {:?} {value}", series.labels);
                }
            }
            bail!("the metrics differ from what was played:\n{differences}they tell:\n{told}");
        }
        Ok(metrics)
    }
}

const fn family(role: Role) -> &'static str {
    match role {
        Role::Server => SERVED,
        Role::Client => CALLED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences(expected: Expected, scrape: &str) -> usize {
        expected.complete().differences(&Metrics::parse(scrape).unwrap()).lines().count()
    }

    #[test]
    fn what_is_missing_and_what_is_beside_it_differ() {
        let expected = || Expected::nothing().requests(Role::Server, "GET", "/a", 200, 2);
        let line = |route: &str, count| {
            format!("{SERVED}{{method=\"GET\",route=\"{route}\",status_code=\"200\"}} {count}\n")
        };
        assert_eq!(differences(expected(), &line("/a", 2)), 0);
        assert_eq!(differences(expected(), ""), 2);
        assert_eq!(differences(expected(), &format!("{}{}", line("/a", 2), line("/b", 1))), 1);
        let lost = format!("{LOST}{{kind=\"exchange\",reason=\"unparsed\"}} 1\n");
        assert_eq!(differences(expected(), &format!("{}{lost}", line("/a", 2))), 1);
    }

    #[test]
    fn what_is_lost_must_add_up_with_what_is_counted() {
        let expected = || Expected::nothing().requests_or_lost(Role::Server, "GET", "/a", 200, 2);
        let scrape = |counted, lost| {
            format!(
                "{SERVED}{{method=\"GET\",route=\"/a\",status_code=\"200\"}} {counted}\n\
                 {LOST}{{kind=\"exchange\",reason=\"unparsed\"}} {lost}\n"
            )
        };
        assert_eq!(differences(expected(), &scrape(2, 0)), 0);
        assert_eq!(differences(expected(), &scrape(1, 1)), 0);
        assert_eq!(differences(expected(), &scrape(1, 0)), 1);
        assert_eq!(differences(expected(), &scrape(2, 1)), 1);
    }
}
