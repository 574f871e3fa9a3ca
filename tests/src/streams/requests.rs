//! Answers that are requests and no streams, beside the agent's metrics.
//! What decides is how long a body takes whose length was not said first.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    http::{Request, connect},
    table::Comparison,
};
use crate::metrics::Metrics;

/// How much a time may differ by what a busy machine puts between kernel and driver.
const SLACK: Duration = Duration::from_millis(50);

/// A request that was answered to the end.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The label `route`.
    pub route: String,
    /// Body without framing.
    pub bytes: usize,
    /// From just before the request was sent until the last byte was read.
    pub duration: Duration,
}

/// Sends `request` on a connection of its own and reads the answer, which must be 200.
pub async fn ask(server: std::net::SocketAddr, request: &Request) -> Result<Answered> {
    let mut connection = connect(server).await?;
    let begun = Instant::now();
    connection.send(request.method, &request.target, &request.headers, &request.body).await?;
    let head = connection.head().await?;
    ensure!(head.status == 200, "{} answered {}", request.target, head.status);
    let bytes = connection.body(head).await?.len();
    Ok(Answered { route: request.route.clone(), bytes, duration: begun.elapsed() })
}

impl Answered {
    /// Beside `metrics`, in which nothing else has its route.
    pub fn compare(&self, metrics: &Metrics) -> Comparison {
        let Self { route, bytes, duration } = self;
        let labels = [("method", "GET"), ("route", route.as_str())];
        let answered = [labels[0], labels[1], ("status_code", "200")];
        let mut comparison = Comparison::default();
        let mut row = |known: f64, metric: &str, labels: &[(&str, &str)]| {
            comparison.count(format!("{route} {metric}"), known, metrics.sum(metric, labels));
        };
        row(1.0, "chat_http_requests_total", &answered);
        row(1.0, "chat_http_request_duration_seconds_count", &labels);
        row(1.0, "chat_http_time_to_first_byte_seconds_count", &labels);
        row(*bytes as f64, "chat_http_response_size_bytes_sum", &labels);
        for metric in ["chat_streams_total", "chat_streams_active", "chat_stream_duration_seconds_count"] {
            row(0.0, metric, &labels[1..]);
        }
        let sum = "chat_http_request_duration_seconds_sum";
        let observer = metrics.sum(sum, &labels);
        comparison.time(format!("{route} {sum}"), duration.as_secs_f64(), observer, SLACK.as_secs_f64());
        comparison
    }
}
