//! Comparisons of one known stream with a scrape that says the same, and with scrapes that do not.
//! What differs must show.

use super::*;
use crate::streams::record::Outcome;

const SCRAPE: &str = "\
    chat_streams_total{kind=\"sse\",route=\"/a\",status_code=\"200\",outcome=\"completed\"} 1\n\
    chat_stream_duration_seconds_count{kind=\"sse\",route=\"/a\"} 1\n\
    chat_stream_duration_seconds_sum{kind=\"sse\",route=\"/a\"} 20.01\n\
    chat_stream_time_to_headers_seconds_count{kind=\"sse\",route=\"/a\"} 1\n\
    chat_stream_time_to_headers_seconds_sum{kind=\"sse\",route=\"/a\"} 0.001\n\
    chat_stream_time_to_first_event_seconds_count{kind=\"sse\",route=\"/a\"} 1\n\
    chat_stream_time_to_first_event_seconds_sum{kind=\"sse\",route=\"/a\"} 1.001\n\
    chat_stream_gap_seconds_count{kind=\"sse\",route=\"/a\"} 1\n\
    chat_stream_gap_seconds_sum{kind=\"sse\",route=\"/a\"} 15\n\
    chat_stream_stalls_total{kind=\"sse\",route=\"/a\"} 1\n\
    chat_stream_chunks_total{kind=\"sse\",route=\"/a\",direction=\"sent\"} 2\n\
    chat_stream_bytes_total{kind=\"sse\",route=\"/a\",direction=\"sent\"} 30\n";

fn record() -> Record {
    Record {
        id: 1,
        kind: Kind::Sse,
        route: "/a".to_owned(),
        status: 200,
        outcome: Outcome::Completed,
        headers: Duration::from_millis(2),
        first_event: Some(Duration::from_secs(1)),
        gaps: vec![Duration::from_secs(15)],
        duration: Duration::from_secs(20),
        sent: Counted { messages: 2, bytes: 30 },
        received: Counted::default(),
    }
}

fn compare(record: Record, more: &str) -> Comparison {
    let metrics = Metrics::parse(&format!("{SCRAPE}{more}")).unwrap();
    all(&[record], Duration::from_secs(10), &metrics)
}

#[test]
fn times_may_differ_a_little_and_counts_not_at_all() {
    let equal = compare(record(), "");
    assert!(equal.equal(), "{equal}");
    for wrong in [
        Record { duration: Duration::from_millis(19_950), ..record() },
        Record { outcome: Outcome::ClientAbort, ..record() },
        Record { status: 201, ..record() },
        Record { sent: Counted { messages: 2, bytes: 31 }, ..record() },
        Record { gaps: vec![Duration::from_secs(10), Duration::from_secs(5)], ..record() },
    ] {
        let comparison = compare(wrong.clone(), "");
        assert!(comparison.to_string().contains("differs"), "{wrong:?}:\n{comparison}");
    }
}

#[test]
fn a_time_in_a_bucket_that_it_cannot_be_in_is_a_difference() {
    let bucket = |bound: &str, count: u32| {
        format!("chat_stream_gap_seconds_bucket{{kind=\"sse\",route=\"/a\",le=\"{bound}\"}} {count}\n")
    };
    // The gap is of 15 s.
    assert!(compare(record(), &(bucket("14.9", 0) + &bucket("15.02", 0))).equal());
    assert!(!compare(record(), &bucket("14.9", 1)).equal());
    assert!(!compare(record(), &bucket("30", 0)).equal());
}

#[test]
fn a_stream_that_counts_as_a_request_is_a_difference() {
    for more in [
        "chat_http_requests_total{route=\"/a\"} 1\n",
        "chat_http_request_duration_seconds_count{route=\"/a\"} 1\n",
        "chat_streams_active{kind=\"sse\",route=\"/a\"} 1\n",
        "chat_streams_total{kind=\"sse\",route=\"/a\",status_code=\"200\",outcome=\"reset\"} 1\n",
    ] {
        assert!(!compare(record(), more).equal(), "{more}");
    }
}
