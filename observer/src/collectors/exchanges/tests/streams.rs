//! Streams that have ended: what they are counted as, and where.

use observer_ebpf::records::exchange::{Body, Exchange, Outcome, PREEXISTING};

use super::Case;
use crate::exchanges::fixture::{at, exchange};

fn ended(body: Body, milliseconds: u64) -> Exchange {
    Exchange { body: body as u8, ended_ns: at(milliseconds), ..exchange() }
}

fn numbered(id: u64, of: &Exchange) -> Exchange {
    Exchange { id, ..*of }
}

#[test]
fn streams_are_in_no_request_metric() {
    let case = Case::of("");
    case.end([
        ended(Body::Sse, 60_000),
        ended(Body::Ndjson, 100),
        ended(Body::WebSocket, 100),
        ended(Body::Unknown, 2100),
        ended(Body::Unknown, 2000),
        ended(Body::Known, 600_000),
    ]);
    let scraped = case.scrape();
    for kind in ["sse", "ndjson", "websocket", "chunked"] {
        scraped.expect("chat_streams_total", &[&format!("kind=\"{kind}\"")], 1.0);
    }
    scraped.expect("chat_http_requests_total", &[], 2.0);
    scraped.expect("chat_http_request_duration_seconds_count", &[], 2.0);
    scraped.expect("chat_http_response_size_bytes_count", &[], 2.0);
    scraped.expect("chat_stream_duration_seconds_sum", &["kind=\"sse\""], 60.0);
    scraped.expect("chat_stream_time_to_headers_seconds_sum", &["kind=\"sse\""], 0.02);
    scraped.expect("chat_stream_time_to_first_event_seconds_sum", &["kind=\"sse\""], 0.03);
}

#[test]
fn a_stream_of_heartbeats_alone_has_no_first_event() {
    let case = Case::of("");
    case.end([Exchange { event_ns: 0, last_event_ns: 0, sent: 0, ..ended(Body::Sse, 30_000) }]);
    let scraped = case.scrape();
    scraped.expect("chat_stream_time_to_first_event_seconds_count", &[], 0.0);
    scraped.expect("chat_stream_time_to_headers_seconds_count", &[], 1.0);
    scraped.expect("chat_stream_chunks_total", &["direction=\"sent\""], 0.0);
    scraped.expect("chat_stream_bytes_total", &["direction=\"sent\""], 2000.0);
    scraped.expect("chat_stream_stalls_total", &[], 0.0);
}

#[test]
fn each_end_has_its_outcome() {
    let case = Case::of("");
    let outcomes = [
        (Outcome::Completed, "completed", 100),
        (Outcome::ClientAbort, "client_abort", 50),
        (Outcome::ServerAbort, "server_abort", 30),
        (Outcome::Reset, "reset", 20),
        (Outcome::Timeout, "timeout", 10),
    ];
    for (outcome, _, count) in outcomes {
        let stream = Exchange { outcome: outcome as u8, ..ended(Body::Sse, 500) };
        case.end((0..count).map(|id| numbered(id, &stream)));
    }
    let scraped = case.scrape();
    for (_, name, count) in outcomes {
        let outcome = format!("outcome=\"{name}\"");
        scraped.expect("chat_streams_total", &["status_code=\"200\"", &outcome], count as f64);
    }
}

#[test]
fn websockets_count_messages_both_ways() {
    let case = Case::of("");
    let socket = Exchange { status: 101, sent: 10, received: 12, ..ended(Body::WebSocket, 60_000) };
    case.end([socket]);
    let scraped = case.scrape();
    scraped.expect("chat_stream_chunks_total", &["kind=\"websocket\"", "direction=\"sent\""], 10.0);
    scraped.expect("chat_stream_chunks_total", &["kind=\"websocket\"", "direction=\"received\""], 12.0);
    scraped.expect("chat_stream_bytes_total", &["direction=\"received\""], 100.0);
    scraped.expect("chat_streams_total", &["status_code=\"101\""], 1.0);
}

#[test]
fn what_was_under_way_before_the_agent_is_marked_and_nothing_is_invented() {
    let case = Case::of("lobechat");
    let adopted =
        Exchange { flags: PREEXISTING, status: 0, response_ns: 0, path_length: 0, ..ended(Body::Sse, 5000) };
    let left = Exchange { outcome: Outcome::ClientAbort as u8, body: Body::Unknown as u8, ..adopted };
    case.end([adopted, left]);
    let scraped = case.scrape();
    let of = ["route=\"{preexisting}\"", "status_code=\"000\""];
    scraped.expect("chat_streams_total", &[of[0], of[1], "kind=\"sse\"", "outcome=\"completed\""], 1.0);
    scraped.expect(
        "chat_streams_total",
        &[of[0], of[1], "kind=\"chunked\"", "outcome=\"client_abort\""],
        1.0,
    );
    scraped.expect("chat_stream_duration_seconds_count", &[of[0]], 2.0);
    scraped.expect("chat_stream_time_to_headers_seconds_count", &[], 0.0);
    scraped.expect("chat_stream_time_to_first_event_seconds_count", &[], 0.0);
    scraped.expect_none("chat_http_requests_total", &[]);
    scraped.expect_none("chat_app_events_total", &[]);
}
