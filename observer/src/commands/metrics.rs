//! `observer metrics`: the reference of all metrics, from their declarations.
//! The markdown form is what the documentation holds.

use std::io::{self, Write};

use crate::collectors::{Kind, Metric, metric::full_name};

/// How the reference looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For a terminal.
    Text,
    /// One table per collector.
    Markdown,
}

/// Prints the metrics of `collectors`, each a name and its declarations; `prefix` as in `metrics.prefix`.
pub fn metrics<'a>(
    out: &mut impl Write,
    collectors: impl IntoIterator<Item = (&'a str, &'a [Metric])>,
    prefix: &str,
    format: Format,
) -> io::Result<()> {
    if format == Format::Markdown {
        writeln!(out, "# Metrics\n\nWritten by `observer metrics --format markdown`.")?;
    }
    for (position, (collector, metrics)) in collectors.into_iter().enumerate() {
        match format {
            Format::Text => {
                let gap = if position == 0 { "" } else { "\n" };
                writeln!(out, "{gap}{collector}")?;
            }
            Format::Markdown => {
                writeln!(out, "\n## {collector}\n\n| metric | type | labels | meaning |\n|---|---|---|---|")?;
            }
        }
        for metric in metrics {
            match format {
                Format::Text => text(out, metric, prefix)?,
                Format::Markdown => markdown_row(out, metric, prefix)?,
            }
        }
    }
    Ok(())
}

fn text(out: &mut impl Write, metric: &Metric, prefix: &str) -> io::Result<()> {
    writeln!(out, "  {}  {}", full_name(metric, prefix), kind(metric))?;
    writeln!(out, "      {}", metric.help)?;
    let labels = labels(metric);
    if !labels.is_empty() {
        writeln!(out, "      labels: {}", labels.join(", "))?;
    }
    if let Kind::Histogram(bounds) = metric.kind {
        writeln!(out, "      buckets: {}", buckets(bounds))?;
    }
    Ok(())
}

fn markdown_row(out: &mut impl Write, metric: &Metric, prefix: &str) -> io::Result<()> {
    let buckets = match metric.kind {
        Kind::Histogram(bounds) => format!(", buckets {}", buckets(bounds)),
        Kind::Counter | Kind::Gauge => String::new(),
    };
    writeln!(
        out,
        "| `{}` | {}{buckets} | {} | {} |",
        full_name(metric, prefix),
        kind(metric),
        labels(metric).join(", "),
        metric.help.replace('|', "\\|"),
    )
}

fn kind(metric: &Metric) -> &'static str {
    match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    }
}

fn labels(metric: &Metric) -> Vec<&'static str> {
    let of_target: &[_] = if metric.of_target { &["container", "app"] } else { &[] };
    of_target.iter().chain(metric.labels).copied().collect()
}

fn buckets(bounds: &[f64]) -> String {
    let bounds: Vec<_> = bounds.iter().map(f64::to_string).collect();
    bounds.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::Joined;

    const TCP: &[Metric] = &[
        Metric {
            name: "tcp_connections",
            help: "Open a|b.",
            kind: Kind::Gauge,
            labels: &["direction"],
            of_target: true,
            joined: Joined::Sum,
        },
        Metric {
            name: "tcp_rtt_seconds",
            help: "Round trips.",
            kind: Kind::Histogram(&[0.001, 2.5, 10.0]),
            labels: &[],
            of_target: true,
            joined: Joined::Sum,
        },
    ];
    const AGENT: &[Metric] = &[Metric {
        name: "observer_series",
        help: "Series served.",
        kind: Kind::Counter,
        labels: &[],
        of_target: false,
        joined: Joined::Sum,
    }];

    fn print(format: Format) -> String {
        let mut out = Vec::new();
        metrics(&mut out, [("tcp", TCP), ("agent", AGENT)], "lobechat", format).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_text_form_groups_by_collector() {
        assert_eq!(
            print(Format::Text),
            "tcp\n  lobechat_tcp_connections  gauge\n      Open a|b.\n      labels: container, app, direction\n  \
             lobechat_tcp_rtt_seconds  histogram\n      Round trips.\n      labels: container, app\n      \
             buckets: 0.001 2.5 10\n\nagent\n  observer_series  counter\n      Series served.\n"
        );
    }

    #[test]
    fn the_markdown_form_is_one_table_per_collector() {
        assert_eq!(
            print(Format::Markdown),
            "# Metrics\n\nWritten by `observer metrics --format markdown`.\n\n\
             ## tcp\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n\
             | `lobechat_tcp_connections` | gauge | container, app, direction | Open a\\|b. |\n\
             | `lobechat_tcp_rtt_seconds` | histogram, buckets 0.001 2.5 10 | container, app | Round trips. |\n\n\
             ## agent\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n\
             | `observer_series` | counter |  | Series served. |\n"
        );
    }
}
