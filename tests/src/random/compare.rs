//! What was asked and answered beside what the metrics have gained meanwhile, figure by figure.
//! Where nothing is known of a figure, there must be none. Names and labels: the metric contract.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::tally::{Cell, Counts, Tally};
use crate::{http::dialog::Side, metrics::Metrics};

/// Figures by what they are of.
type Figures = BTreeMap<String, u64>;

/// One figure from both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is of.
    pub what: String,
    /// What it is to be.
    pub known: u64,
    /// What the metrics say.
    pub seen: u64,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Those that are not as they may be.
    pub differences: Vec<Row>,
    /// All figures that were compared.
    pub figures: usize,
    /// Exchanges that the agent says are missing in its counts.
    pub lost: u64,
    /// All records that were lost, by kind and reason.
    losses: Vec<String>,
    /// What was asked.
    asked: u64,
    /// Of that, what is neither counted nor said to be lost.
    unsaid: u64,
    /// Something is higher than it is to be.
    is_above: bool,
}

/// Exchanges of one batch that may be lost on loopback, and those of one over a wire of which nothing may be said, while the cause of
/// both is not found ([`Comparison::is_bounded`]). On 2026-12-01 single events lost 1 to 187 on loopback, as one of a long pipeline
/// takes what is behind it; in about one run of five over the wire 6 of 5,611 to 140 of 6,413 were
/// missing.
const KNOWN_TO_BE_MISSED: u64 = 400;

/// What the row of lost exchanges is called, where none may be.
const LOST: &str = "exchanges lost";

impl Comparison {
    /// Compares `tally` with what is in `after` and was not in `before`. `target` is the side that is observed. Where
    /// exchanges `may_be_lost`, no figure may be higher than it is to be, and all that is missing must be said to be lost.
    pub fn new(tally: &Tally, target: Side, [before, after]: [&Metrics; 2], may_be_lost: bool) -> Self {
        let known = known(tally, target);
        let (then, now) = (seen(before, target), seen(after, target));
        let of = |figures: &Figures, what: &str| figures.get(what).copied().unwrap_or_default();
        let lost = lost(after) - lost(before);
        let keys: BTreeSet<&String> = known.keys().chain(now.keys()).collect();
        // Those of the metrics, two that are to be 0 afterwards, and what was lost.
        let figures = keys.len() + 3;
        let rows = keys.into_iter().map(|what| Row {
            what: what.clone(),
            known: of(&known, what),
            seen: of(&now, what).saturating_sub(of(&then, what)),
        });
        let wrong = |row: &Row| row.seen > row.known || (!may_be_lost && row.seen != row.known);
        let mut differences: Vec<Row> = rows.filter(wrong).collect();
        let counted = counted(after, target) - counted(before, target);
        let unsettled =
            after.count("chat_http_requests_in_flight", &[]) + after.count("chat_streams_active", &[]);
        let is_above = unsettled > 0
            || counted + lost > tally.exchanges()
            || differences.iter().any(|row| row.seen > row.known);
        let mut also = |what: &str, known, seen| {
            if known != seen {
                differences.push(Row { what: what.to_owned(), known, seen });
            }
        };
        also("requests in flight afterwards", 0, after.count("chat_http_requests_in_flight", &[]));
        also("streams active afterwards", 0, after.count("chat_streams_active", &[]));
        if may_be_lost {
            // Of connections that were given up, nobody knows how many are missing.
            let given_up = given_up(after) > given_up(before) && counted + lost < tally.exchanges();
            if !given_up {
                also("all exchanges, counted or lost", tally.exchanges(), counted + lost);
            }
        } else {
            also(LOST, 0, lost);
        }
        let asked = tally.exchanges();
        let unsaid = asked.saturating_sub(counted + lost);
        Self { differences, figures, lost, losses: losses([before, after]), asked, unsaid, is_above }
    }

    /// Whether what differs is no more than is known to be missed: nothing is higher than it is to be, and few exchanges are missing.
    /// No measure of what is right: that is [`Comparison::is_equal`].
    pub fn is_bounded(&self) -> bool {
        !self.is_above && self.missing() <= KNOWN_TO_BE_MISSED.min(self.asked / 10)
    }

    /// What may not be missing and is: all that is unsaid, and what was lost where nothing may be.
    fn missing(&self) -> u64 {
        let may_not = self.differences.iter().find(|row| row.what == LOST);
        self.unsaid + may_not.map_or(0, |row| row.seen)
    }

    /// Whether nothing differs.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

/// What is to be counted.
fn known(tally: &Tally, target: Side) -> Figures {
    let mut figures = Figures::new();
    let mut add = |what: String, count: u64| {
        if count > 0 {
            *figures.entry(what).or_default() += count;
        }
    };
    for (Cell { method, route, status, stream }, counts) in tally.cells() {
        let Counts { exchanges, request_bytes, response_bytes, sent, received } = *counts;
        let named = format!("{method} {route}");
        match stream {
            None => {
                add(format!("{named} {status:03}"), exchanges);
                for what in if target == Side::Server { &HISTOGRAMS[..] } else { &HISTOGRAMS[..2] } {
                    add(format!("{named} {what}"), exchanges);
                }
                if target == Side::Server {
                    add(format!("{named} response bytes"), response_bytes);
                    add(format!("{named} request bytes"), request_bytes);
                }
            }
            Some(_) if target == Side::Client => {
                add(format!("{named} {status:03}"), exchanges);
                HISTOGRAMS[..2].iter().for_each(|what| add(format!("{named} {what}"), exchanges));
            }
            Some(kind) => {
                let named = format!("{kind} {route}");
                add(format!("{named} {status:03} completed"), exchanges);
                add(format!("{named} durations"), exchanges);
                add(format!("{named} chunks sent"), sent);
                add(format!("{named} chunks received"), received);
                add(format!("{named} bytes sent"), response_bytes);
                add(format!("{named} bytes received"), request_bytes);
            }
        }
    }
    figures.retain(|what, _| is_known(what));
    figures
}

/// What is counted once for each request, of either side; then what is of a server only.
const HISTOGRAMS: [&str; 4] = ["durations", "first bytes", "response sizes", "request sizes"];

/// Metrics with a figure for each series, and what the figures are called: labels, then what is counted.
const OF_SERVER: [(&str, &[&str], &str); 12] = [
    ("chat_http_requests_total", &["method", "route", "status_code"], ""),
    ("chat_http_request_duration_seconds_count", &["method", "route"], HISTOGRAMS[0]),
    ("chat_http_time_to_first_byte_seconds_count", &["method", "route"], HISTOGRAMS[1]),
    ("chat_http_response_size_bytes_count", &["method", "route"], HISTOGRAMS[2]),
    ("chat_http_request_size_bytes_count", &["method", "route"], HISTOGRAMS[3]),
    ("chat_http_response_size_bytes_sum", &["method", "route"], "response bytes"),
    ("chat_http_request_size_bytes_sum", &["method", "route"], "request bytes"),
    ("chat_streams_total", &["kind", "route", "status_code", "outcome"], ""),
    ("chat_stream_duration_seconds_count", &["kind", "route"], "durations"),
    ("chat_stream_chunks_total", &["kind", "route"], "chunks"),
    ("chat_stream_bytes_total", &["kind", "route"], "bytes"),
    ("chat_upstream_requests_total", &["upstream", "method", "route", "status_code"], ""),
];

/// The same of a target that asks.
const OF_CLIENT: [(&str, &[&str], &str); 5] = [
    ("chat_upstream_requests_total", &["method", "route", "status_code"], ""),
    ("chat_upstream_request_duration_seconds_count", &["method", "route"], HISTOGRAMS[0]),
    ("chat_upstream_time_to_first_byte_seconds_count", &["method", "route"], HISTOGRAMS[1]),
    ("chat_http_requests_total", &["method", "route", "status_code"], "served"),
    ("chat_streams_total", &["kind", "route", "status_code", "outcome"], ""),
];

/// What the metrics say.
fn seen(metrics: &Metrics, target: Side) -> Figures {
    let mut figures = Figures::new();
    let all = if target == Side::Server { &OF_SERVER[..] } else { &OF_CLIENT };
    for (name, labels, what) in all {
        for (series, value) in metrics.matching(name, &[]) {
            let label = |name: &&str| series.labels.get(*name).map_or("", String::as_str);
            let mut words: Vec<&str> = labels.iter().map(label).collect();
            words.extend([*what, label(&"direction")]);
            words.retain(|word| !word.is_empty());
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "counts are far below 2^53"
            )]
            let value = value.round() as u64;
            if value > 0 {
                *figures.entry(words.join(" ")).or_default() += value;
            }
        }
    }
    figures.retain(|what, _| is_known(what));
    figures
}

/// Whether the contract says what a figure is: chunks count where there are chunks, and the body of a request that was
/// sent before the answer to the one before it may be known from its head only.
fn is_known(what: &str) -> bool {
    let sent_ahead = ["pipeline/", "/half-close/", "{unmatched}"].iter().any(|part| what.contains(part));
    let chunks = what.contains(" chunks ") && what.contains("unframed");
    let uploads = (what.ends_with(" request bytes") || what.ends_with(" bytes received")) && sent_ahead;
    !chunks && !uploads
}

fn lost(metrics: &Metrics) -> u64 {
    metrics.count("observer_records_lost_total", &[("kind", "exchange")])
}

/// Connections that were given up.
fn given_up(metrics: &Metrics) -> u64 {
    metrics.count("observer_connections_given_up_total", &[])
}

/// What was lost in between, of every kind.
fn losses([before, after]: [&Metrics; 2]) -> Vec<String> {
    let series = after.matching("observer_records_lost_total", &[]).map(|(series, now)| {
        let labels: Vec<(&str, &str)> =
            series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let values: Vec<&str> = labels.iter().map(|(_, value)| *value).collect();
        (values.join(" "), now - before.sum(&series.name, &labels))
    });
    series.filter(|(_, count)| *count > 0.5).map(|(what, count)| format!("{what} {count}")).collect()
}

/// All exchanges that are in the counts.
fn counted(metrics: &Metrics, target: Side) -> u64 {
    match target {
        Side::Server => {
            metrics.count("chat_http_requests_total", &[]) + metrics.count("chat_streams_total", &[])
        }
        Side::Client => metrics.count("chat_upstream_requests_total", &[]),
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Lines that are shown; others are like them.
        const SHOWN: usize = 40;
        if self.is_equal() {
            return write!(formatter, "{} figures equal, {} exchanges lost", self.figures, self.lost);
        }
        writeln!(formatter, "{:<70} {:>12} {:>12}", "", "asked", "metrics")?;
        for Row { what, known, seen } in self.differences.iter().take(SHOWN) {
            writeln!(formatter, "{what:<70} {known:>12} {seen:>12}")?;
        }
        let count = self.differences.len();
        write!(formatter, "{count} of {} figures differ; lost: [{}]", self.figures, self.losses.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(exchanges: u64) -> Tally {
        tally_of(exchanges, 7, 2)
    }

    fn tally_of(exchanges: u64, response_bytes: u64, sent: u64) -> Tally {
        let cell = |stream: Option<&str>, method: &str| Cell {
            method: method.into(),
            route: "/a".into(),
            status: 200,
            stream: stream.map(str::to_owned),
        };
        let counts = Counts { exchanges, request_bytes: 0, response_bytes, sent, received: 0 };
        vec![(cell(None, "GET"), Counts { sent: 0, ..counts }), (cell(Some("sse"), "POST"), counts)].into()
    }

    const SERVED: &str = "\
        chat_http_requests_total{method=\"GET\",route=\"/a\",status_code=\"200\"} 2\n\
        chat_http_request_duration_seconds_count{method=\"GET\",route=\"/a\"} 2\n\
        chat_http_time_to_first_byte_seconds_count{method=\"GET\",route=\"/a\"} 2\n\
        chat_http_response_size_bytes_count{method=\"GET\",route=\"/a\"} 2\n\
        chat_http_request_size_bytes_count{method=\"GET\",route=\"/a\"} 2\n\
        chat_http_response_size_bytes_sum{method=\"GET\",route=\"/a\"} 7\n\
        chat_http_request_size_bytes_sum{method=\"GET\",route=\"/a\"} 0\n\
        chat_streams_total{kind=\"sse\",route=\"/a\",status_code=\"200\",outcome=\"completed\"} 2\n\
        chat_stream_duration_seconds_count{kind=\"sse\",route=\"/a\"} 2\n\
        chat_stream_chunks_total{kind=\"sse\",route=\"/a\",direction=\"sent\"} 2\n\
        chat_stream_bytes_total{kind=\"sse\",route=\"/a\",direction=\"sent\"} 7\n";

    fn differences(tally: &Tally, target: Side, scrape: &str, may_be_lost: bool) -> usize {
        let scrapes = ["", scrape].map(|scrape| Metrics::parse(scrape).unwrap());
        let [before, after] = &scrapes;
        Comparison::new(tally, target, [before, after], may_be_lost).differences.len()
    }

    #[test]
    fn equal_figures_are_equal_and_each_other_one_is_a_difference() {
        assert_eq!(differences(&tally(2), Side::Server, SERVED, false), 0);
        assert_eq!(differences(&tally(2), Side::Server, &SERVED.replace("} 7", "} 8"), false), 2);
        // One request, its four histograms, one stream and its duration.
        assert_eq!(differences(&tally(1), Side::Server, SERVED, false), 7);
        for more in [
            "chat_http_requests_total{method=\"GET\",route=\"/b\",status_code=\"200\"} 1\n",
            "chat_http_requests_in_flight 1\n",
            "chat_streams_active{kind=\"sse\",route=\"/a\"} 1\n",
            "observer_records_lost_total{kind=\"exchange\",reason=\"unparsed\"} 1\n",
            "chat_streams_total{kind=\"sse\",route=\"/a\",status_code=\"200\",outcome=\"reset\"} 1\n",
        ] {
            assert_eq!(differences(&tally(2), Side::Server, &format!("{SERVED}{more}"), false), 1, "{more}");
        }
    }

    #[test]
    fn what_is_lost_is_missing_and_nothing_else() {
        let lost = |count| format!("{SERVED}observer_records_lost_total{{kind=\"exchange\"}} {count}\n");
        assert_eq!(differences(&tally(3), Side::Server, &lost(2), true), 0);
        assert_eq!(differences(&tally(3), Side::Server, &lost(1), true), 1);
        // More than was asked is wrong, whatever is lost: 7 figures, and the sum.
        assert_eq!(differences(&tally(1), Side::Server, &lost(0), true), 8);
    }

    #[test]
    fn what_is_known_to_be_missed_differs_and_is_bounded() {
        let many = SERVED.replace("} 2", "} 2000").replace("} 7", "} 7000");
        let lost = |count| format!("{many}observer_records_lost_total{{kind=\"exchange\"}} {count}\n");
        let in_flight = format!("{}chat_http_requests_in_flight 1\n", lost(2));
        for (asked, scrape, may_be_lost, bounded) in [
            (2001, lost(2), false, true),
            (2001, lost(1), true, true),
            (2150, lost(2), true, true),
            (2300, lost(2), true, false),
            (2001, in_flight, false, false),
            (1999, lost(2), false, false),
            (2000, lost(2), false, false),
        ] {
            let [before, after] = ["", &scrape].map(|scrape| Metrics::parse(scrape).unwrap());
            let tally = tally_of(asked, 7000, 2000);
            let comparison = Comparison::new(&tally, Side::Server, [&before, &after], may_be_lost);
            assert!(!comparison.is_equal(), "{asked} {may_be_lost}");
            assert_eq!(comparison.is_bounded(), bounded, "{asked} {may_be_lost}");
        }
    }

    #[test]
    fn a_target_that_asks_has_its_streams_among_its_requests() {
        let asked = "\
            chat_upstream_requests_total{upstream=\"x\",method=\"GET\",route=\"/a\",status_code=\"200\"} 2\n\
            chat_upstream_requests_total{upstream=\"x\",method=\"POST\",route=\"/a\",status_code=\"200\"} 2\n\
            chat_upstream_request_duration_seconds_count{method=\"GET\",route=\"/a\"} 2\n\
            chat_upstream_time_to_first_byte_seconds_count{method=\"GET\",route=\"/a\"} 2\n\
            chat_upstream_request_duration_seconds_count{method=\"POST\",route=\"/a\"} 2\n\
            chat_upstream_time_to_first_byte_seconds_count{method=\"POST\",route=\"/a\"} 2\n";
        assert_eq!(differences(&tally(2), Side::Client, asked, false), 0);
        assert_eq!(differences(&tally(2), Side::Client, &asked.replace("POST", "PUT"), false), 6);
    }
}
