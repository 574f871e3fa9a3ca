//! The live table of the demo: one line a second, from /metrics alone.
//! The head comes again each screen, so that it is always in sight.

use std::time::Duration;

use crate::metrics::Metrics;

/// Lines between two heads.
const SCREEN: u64 = 20;

/// Column titles, each as wide as its column.
const HEAD: &str = "  time     open   opened   closed   streams   sent MB   recv. MB   to model   failed";

/// Prints the line for `metrics`, `elapsed` after the start; `number` counts the lines from 0.
pub fn print(number: u64, elapsed: Duration, metrics: &Metrics) {
    if number.is_multiple_of(SCREEN) {
        println!("{HEAD}");
    }
    println!("{}", line(elapsed, metrics));
}

fn line(elapsed: Duration, metrics: &Metrics) -> String {
    let inbound = |name| metrics.sum(name, &[("direction", "inbound")]);
    let streams = match metrics.matching("chat_streams_active", &[]).count() {
        0 => "-".to_owned(),
        _ => metrics.sum("chat_streams_active", &[]).to_string(),
    };
    format!(
        "{:>5}s {:>8} {:>8} {:>8} {streams:>9} {:>9.2} {:>10.2} {:>10} {:>8}",
        elapsed.as_secs(),
        inbound("chat_tcp_connections"),
        inbound("chat_tcp_connections_opened_total"),
        inbound("chat_tcp_connections_closed_total"),
        inbound("chat_tcp_sent_bytes_total") / 1e6,
        inbound("chat_tcp_received_bytes_total") / 1e6,
        metrics.sum("chat_tcp_connections_opened_total", &[("direction", "outbound")]),
        metrics.sum("chat_tcp_connect_failures_total", &[]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stands_under_its_head_and_tells_what_is_not_there_yet() {
        let scrape = "chat_tcp_connections{direction=\"inbound\",peer=\"\"} 12\n\
            chat_tcp_sent_bytes_total{direction=\"inbound\",peer=\"\"} 2500000\n\
            chat_tcp_connections_opened_total{direction=\"outbound\",peer=\"other\"} 7\n";
        let line = line(Duration::from_secs(3), &Metrics::parse(scrape).unwrap());
        assert_eq!(
            line,
            "    3s       12        0        0         -      2.50       0.00          7        0"
        );
        assert_eq!(line.len(), HEAD.len());
    }
}
