//! What the load generator knows beside what the metrics say, row by row.
//! Names and labels: the metric contract, section TCP.

use std::{collections::BTreeMap, fmt};

use super::tally::{Reason, Tally};
use crate::metrics::Metrics;

/// One figure from both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    what: String,
    known: f64,
    seen: f64,
}

/// All figures of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison(Vec<Row>);

impl Comparison {
    /// Connections to the target (`inbound`) and from it (`outbound`) beside `metrics`, summed over peers.
    pub fn new(inbound: &Tally, outbound: &Tally, metrics: &Metrics) -> Self {
        let mut rows = Vec::new();
        for (direction, tally) in [("inbound", inbound), ("outbound", outbound)] {
            let mut row = |what: String, known: u64, metric: &str, reason: Option<&str>| {
                let mut labels = vec![("direction", direction)];
                labels.extend(reason.map(|reason| ("reason", reason)));
                let seen = metrics.sum(metric, &labels);
                rows.push(Row { what: format!("{direction} {what}"), known: known as f64, seen });
            };
            row("opened".into(), tally.opened, "chat_tcp_connections_opened_total", None);
            for reason in Reason::ALL {
                let known = tally.closed.get(&reason).copied().unwrap_or_default();
                let what = format!("closed, {}", reason.label());
                row(what, known, "chat_tcp_connections_closed_total", Some(reason.label()));
            }
            // No connection here ends by a time limit, so all reasons together must be those above.
            let closed = tally.closed.values().sum();
            row("closed, any reason".into(), closed, "chat_tcp_connections_closed_total", None);
            row("open now".into(), tally.open, "chat_tcp_connections", None);
            row("bytes sent".into(), tally.sent_bytes, "chat_tcp_sent_bytes_total", None);
            row("bytes received".into(), tally.received_bytes, "chat_tcp_received_bytes_total", None);
        }
        Self(rows)
    }

    /// With connects of the target that failed, by reason, summed over peers.
    #[must_use]
    pub fn with_failures(mut self, known: &BTreeMap<&str, u64>, metrics: &Metrics) -> Self {
        let mut row = |what: String, known: u64, labels: &[(&str, &str)]| {
            let seen = metrics.sum("chat_tcp_connect_failures_total", labels);
            self.0.push(Row { what, known: known as f64, seen });
        };
        for (reason, count) in known {
            row(format!("connect failed, {reason}"), *count, &[("reason", reason)]);
        }
        row("connect failed, any reason".into(), known.values().sum(), &[]);
        self
    }

    /// Whether every figure is the same on both sides.
    pub fn equal(&self) -> bool {
        self.0.iter().all(Row::equal)
    }
}

impl Row {
    /// Counts are whole numbers below 2^53, which f64 holds exactly.
    fn equal(&self) -> bool {
        (self.known - self.seen).abs() < 0.5
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:<30} {:>16} {:>16}", "", "load generator", "metrics")?;
        for row in &self.0 {
            let mark = if row.equal() { "" } else { "  differs" };
            writeln!(formatter, "{:<30} {:>16} {:>16}{mark}", row.what, row.known, row.seen)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = "\
        chat_tcp_connections_opened_total{container=\"d\",app=\"\",direction=\"inbound\",peer=\"\"} 3\n\
        chat_tcp_connections_closed_total{direction=\"inbound\",peer=\"\",reason=\"peer_reset\"} 2\n\
        chat_tcp_connections{direction=\"inbound\",peer=\"\"} 1\n\
        chat_tcp_sent_bytes_total{direction=\"inbound\",peer=\"\"} 70\n\
        chat_tcp_received_bytes_total{direction=\"inbound\",peer=\"\"} 7\n\
        chat_tcp_sent_bytes_total{direction=\"outbound\",peer=\"a\"} 4\n\
        chat_tcp_sent_bytes_total{direction=\"outbound\",peer=\"b\"} 5\n";

    fn known() -> (Tally, Tally) {
        let closed = BTreeMap::from([(Reason::PeerReset, 2)]);
        let inbound = Tally { opened: 3, open: 1, closed, sent_bytes: 70, received_bytes: 7 };
        (inbound, Tally { sent_bytes: 9, ..Tally::default() })
    }

    #[test]
    fn equal_figures_are_equal_and_one_byte_is_a_difference() {
        let metrics = Metrics::parse(SCRAPE).unwrap();
        let (inbound, mut outbound) = known();
        let comparison = Comparison::new(&inbound, &outbound, &metrics);
        assert!(comparison.equal(), "{comparison}");
        outbound.sent_bytes += 1;
        let comparison = Comparison::new(&inbound, &outbound, &metrics);
        assert!(!comparison.equal());
        assert_eq!(comparison.to_string().matches("differs").count(), 1);
    }

    #[test]
    fn a_reason_that_the_load_cannot_cause_is_a_difference() {
        let more =
            "chat_tcp_connections_closed_total{direction=\"inbound\",peer=\"\",reason=\"timeout\"} 1\n";
        let metrics = Metrics::parse(&format!("{SCRAPE}{more}")).unwrap();
        let (inbound, outbound) = known();
        assert!(!Comparison::new(&inbound, &outbound, &metrics).equal());
    }
}
