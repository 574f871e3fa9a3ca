//! What a client knows of its requests beside what the metrics say, row by row.
//! Names and labels: the metric contract, section HTTP. Where nothing is known of a series, there must be none.

use std::{collections::BTreeSet, fmt, time::Duration};

use anyhow::{Result, ensure};

use super::ledger::{Ledger, Requests, Route};
use crate::{agent::Agent, metrics::Metrics};

/// How long the last answer may take to reach the metrics.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);

/// How far a duration may be from the client's, in seconds.
const WITHIN: f64 = 0.001;

/// One figure from both sides.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    what: String,
    known: f64,
    seen: f64,
    equal: bool,
    /// Whether it is a number of bytes.
    bytes: bool,
}

/// All figures of a comparison.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison(Vec<Row>);

impl Comparison {
    /// Counts of all requests of one target, with nothing else beside them.
    pub fn of_counts(ledger: &Ledger, metrics: &Metrics) -> Self {
        let mut comparison = Self::default();
        let mut known = BTreeSet::new();
        for (Route { method, route }, requests) in ledger.routes() {
            for (status, count) in &requests.statuses {
                let labels =
                    [("method", &**method), ("route", route), ("status_code", &format!("{status:03}"))];
                let seen = metrics.sum("chat_http_requests_total", &labels);
                comparison.count(format!("{method} {route} {status:03}"), *count, seen);
                known.insert(labels.map(|(_, value)| value.to_owned()));
            }
        }
        for (series, seen) in metrics.matching("chat_http_requests_total", &[]) {
            let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
            let labels = ["method", "route", "status_code"].map(label);
            if seen > 0.5 && !known.contains(&labels) {
                comparison.count(labels.join(" "), 0, seen);
            }
        }
        comparison
    }

    /// Counts, and of each route the histograms' counts, the bytes of all bodies and the durations where the client
    /// has them.
    pub fn of_all(ledger: &Ledger, metrics: &Metrics) -> Self {
        let mut comparison = Self::of_counts(ledger, metrics);
        for (Route { method, route }, requests) in ledger.routes() {
            let labels = [("method", &**method), ("route", &**route)];
            let sum = |name: &str, part: &str| metrics.sum(&format!("chat_http_{name}_{part}"), &labels);
            let histograms = [
                "request_duration_seconds",
                "time_to_first_byte_seconds",
                "request_size_bytes",
                "response_size_bytes",
            ];
            for name in histograms {
                comparison.count(format!("{method} {route} {name}"), requests.answered(), sum(name, "count"));
            }
            // What was not answered has no sizes, as it has no times.
            let answered = requests.answered().min(1);
            let (sent, received) = (requests.request_bytes * answered, requests.response_bytes * answered);
            comparison.count(format!("{method} {route} bytes in"), sent, sum("request_size_bytes", "sum"));
            comparison.count(
                format!("{method} {route} bytes out"),
                received,
                sum("response_size_bytes", "sum"),
            );
            if !requests.durations.is_empty() {
                comparison.durations(&format!("{method} {route}"), requests, metrics, &labels);
            }
        }
        comparison
    }

    /// Mean and distribution of the durations of a route.
    fn durations(&mut self, of: &str, requests: &Requests, metrics: &Metrics, labels: &[(&str, &str)]) {
        const NAME: &str = "chat_http_request_duration_seconds";
        let count = requests.durations.len() as f64;
        let known = requests.durations.iter().sum::<f64>() / count;
        let seen = metrics.sum(&format!("{NAME}_sum"), labels) / count;
        self.0.push(Row {
            what: format!("{of} mean ms"),
            known: known * 1e3,
            seen: seen * 1e3,
            equal: (known - seen).abs() <= WITHIN,
            bytes: false,
        });
        let buckets = buckets(metrics, &format!("{NAME}_bucket"), labels);
        let outside = buckets.iter().map(|bucket| outside(requests, *bucket)).fold(0.0, f64::max);
        self.0.push(Row {
            what: format!("{of} durations that are more than 1 ms off"),
            known: 0.0,
            seen: outside,
            // One in a hundred may be late at the client, who has to be woken.
            equal: outside <= (count / 100.0).max(1.0) && !buckets.is_empty(),
            bytes: false,
        });
    }

    /// With one more figure that must be the same.
    pub fn count(&mut self, what: String, known: u64, seen: f64) {
        let known = known as f64;
        let bytes = what.contains(" bytes ");
        self.0.push(Row { what, known, seen, equal: (known - seen).abs() < 0.5, bytes });
    }

    /// Lets each figure be lower by as many requests as the agent says that it gave up, of at most `longest` bytes each;
    /// all that are counted and those must still be all that there were.
    #[must_use]
    pub fn with_given_up(mut self, ledger: &Ledger, metrics: &Metrics, longest: u64) -> Self {
        let given_up = metrics.sum("observer_records_lost_total", &[("reason", "unparsed")]);
        for row in &mut self.0 {
            let most = if row.bytes { given_up * longest as f64 } else { given_up };
            row.equal |= (0.0..=most).contains(&(row.known - row.seen));
        }
        let counted = metrics.sum("chat_http_requests_total", &[]);
        self.count("all requests, counted or given up".to_owned(), ledger.count(), counted + given_up);
        self
    }

    /// Whether every figure is the same on both sides.
    pub fn equal(&self) -> bool {
        self.0.iter().all(|row| row.equal)
    }

    /// Waits until what `compare` makes of a scrape is equal; the scrape.
    pub fn wait_equal(agent: &Agent, compare: impl Fn(&Metrics) -> Self) -> Result<Metrics> {
        let metrics = agent.scrape_until(SETTLED_WITHIN, |metrics| compare(metrics).equal())?;
        let comparison = compare(&metrics);
        ensure!(comparison.equal(), "the metrics differ from what happened:\n{comparison}");
        println!("{comparison}");
        Ok(metrics)
    }
}

/// How many durations at least are on the wrong side of a bucket's bound, by more than the client may be late.
fn outside(requests: &Requests, (bound, seen): (f64, f64)) -> f64 {
    let up_to = |limit: f64| requests.durations.iter().filter(|duration| **duration <= limit).count() as f64;
    (up_to(bound - WITHIN) - seen).max(seen - up_to(bound + WITHIN)).max(0.0)
}

/// Upper bounds and cumulative counts of a histogram, summed over the series with these labels.
fn buckets(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for (series, count) in metrics.matching(name, labels) {
        let bound = series.labels.get("le").and_then(|bound| bound.parse().ok()).unwrap_or(f64::INFINITY);
        match buckets.iter_mut().find(|(own, _)| own.total_cmp(&bound).is_eq()) {
            Some((_, sum)) => *sum += count,
            None => buckets.push((bound, count)),
        }
    }
    buckets.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
    buckets
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:<70} {:>14} {:>14}", "", "client", "metrics")?;
        for Row { what, known, seen, equal, .. } in &self.0 {
            let mark = if *equal { "" } else { "  differs" };
            let digits = if known.fract() == 0.0 && seen.fract() == 0.0 { 0 } else { 3 };
            writeln!(formatter, "{what:<70} {known:>14.digits$} {seen:>14.digits$}{mark}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::http::client::Answer;

    /// A scrape with three requests of one route, of 4, 4 and 40 ms.
    fn scrape() -> String {
        let labels = "method=\"GET\",route=\"/a\"";
        let mut text = format!("chat_http_requests_total{{{labels},status_code=\"200\"}} 3\n");
        for name in [
            "request_duration_seconds",
            "time_to_first_byte_seconds",
            "request_size_bytes",
            "response_size_bytes",
        ] {
            let sum = if name.starts_with("response") { 30.0 } else { 0.048 };
            let sum = if name.starts_with("request_size") { 0.0 } else { sum };
            writeln!(text, "chat_http_{name}_count{{{labels}}} 3\nchat_http_{name}_sum{{{labels}}} {sum}")
                .unwrap();
        }
        for (bound, count) in [("0.005", 2), ("0.01", 2), ("0.025", 2), ("0.05", 3), ("+Inf", 3)] {
            writeln!(text, "chat_http_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}")
                .unwrap();
        }
        text
    }

    fn ledger(milliseconds: [u64; 3]) -> Ledger {
        let mut ledger = Ledger::default();
        for duration in milliseconds.map(Duration::from_millis) {
            ledger.enter("GET", "/a", "/a", 0, &Answer { status: 200, body: 10, duration, last: false });
        }
        ledger
    }

    #[test]
    fn equal_figures_are_equal_and_each_other_one_is_a_difference() {
        let metrics = Metrics::parse(&scrape()).unwrap();
        let comparison = Comparison::of_all(&ledger([4, 4, 40]), &metrics);
        assert!(comparison.equal(), "{comparison}");
        let differing = |ledger: &Ledger, scrape: &str| {
            let metrics = Metrics::parse(scrape).unwrap();
            Comparison::of_all(ledger, &metrics).to_string().matches("differs").count()
        };
        // The mean, and two that are more than 1 ms from where they were counted.
        assert_eq!(differing(&ledger([30, 30, 40]), &scrape()), 2);
        // The mean alone.
        assert_eq!(differing(&ledger([4, 4, 48]), &scrape()), 1);
        let mut more = ledger([4, 4, 40]);
        more.expect("GET", "/a", 404, 1, 0, 5);
        // The status, four counts and the bytes.
        assert_eq!(differing(&more, &scrape()), 6);
    }

    #[test]
    fn a_series_that_nobody_asked_for_is_a_difference() {
        let unknown = "chat_http_requests_total{method=\"GET\",route=\"/b\",status_code=\"200\"} 1\n";
        let metrics = Metrics::parse(&format!("{}{unknown}", scrape())).unwrap();
        let comparison = Comparison::of_counts(&ledger([4, 4, 40]), &metrics);
        assert_eq!(comparison.to_string().matches("differs").count(), 1, "{comparison}");
    }
}
