//! Streams that are open: they grow from scrape to scrape, and their end adds only the rest.

use observer_ebpf::records::{
    exchange::{Body, Exchange, PREEXISTING},
    histogram::GAP_BUCKETS,
};

use super::{Case, still_open};
use crate::{
    exchanges::fixture::{ahead, asking, at, exchange},
    kernel::Record,
};

const BYTES: &str = "chat_stream_bytes_total";
const CHUNKS: &str = "chat_stream_chunks_total";
const SENT: &str = "direction=\"sent\"";

fn stream() -> Exchange {
    Exchange { body: Body::Sse as u8, ..exchange() }
}

#[test]
fn an_open_stream_grows_and_its_end_adds_the_rest() {
    let case = Case::of("");
    let open = still_open(&stream());
    case.open(1000, &[open]);
    let first = case.scrape();
    first.expect("chat_streams_active", &["kind=\"sse\"", "route=\"/\""], 1.0);
    first.expect("chat_stream_oldest_age_seconds", &["kind=\"sse\""], 1.0);
    first.expect(BYTES, &[SENT], 2000.0);
    first.expect("chat_stream_duration_seconds_count", &[], 0.0);
    first.expect_none("chat_streams_total", &[]);

    let mut gaps = [0; GAP_BUCKETS];
    gaps[9] = 4;
    let later = Exchange { response_bytes: 3000, sent: 5, gaps, gap_sum_ns: 2_000_000_000, ..open };
    case.open(3000, &[later]);
    for _ in 0..2 {
        let second = case.scrape();
        second.expect(BYTES, &[SENT], 3000.0);
        second.expect(CHUNKS, &[SENT], 5.0);
        second.expect("chat_stream_gap_seconds_count", &[], 4.0);
        second.expect("chat_stream_gap_seconds_sum", &[], 2.0);
    }

    case.end([Exchange { response_bytes: 3500, sent: 6, ..ended(&later, 4000) }]);
    case.open(5000, &[]);
    for _ in 0..5 {
        let third = case.scrape();
        third.expect("chat_streams_active", &["kind=\"sse\""], 0.0);
        third.expect("chat_stream_oldest_age_seconds", &["kind=\"sse\""], 0.0);
        third.expect("chat_streams_total", &["outcome=\"completed\""], 1.0);
        third.expect(BYTES, &[SENT], 3500.0);
        third.expect(CHUNKS, &[SENT], 6.0);
        third.expect("chat_stream_gap_seconds_count", &[], 4.0);
        third.expect("chat_stream_duration_seconds_sum", &[], 4.0);
    }
}

fn ended(of: &Exchange, milliseconds: u64) -> Exchange {
    Exchange { ended_ns: at(milliseconds), outcome: stream().outcome, ..*of }
}

#[test]
fn a_stream_that_ended_between_two_scrapes_is_counted_once() {
    let case = Case::of("");
    let open = still_open(&stream());
    case.open(1000, &[open]);
    case.scrape();
    // Gone from the sockets before its record was read: one scrape sees neither.
    case.open(2000, &[]);
    let between = case.scrape();
    between.expect("chat_streams_active", &[], 0.0);
    between.expect(BYTES, &[SENT], 2000.0);
    case.end([ended(&Exchange { response_bytes: 2100, ..open }, 1500)]);
    case.exchanges.take_in();
    case.scrape().expect(BYTES, &[SENT], 2100.0);
}

#[test]
fn streams_whose_end_was_lost_are_forgotten_and_take_nothing_back() {
    let case = Case::of("");
    let open: Vec<_> = (0..1000).map(|id| still_open(&Exchange { id, ..stream() })).collect();
    case.open(1000, &open);
    case.scrape().expect("chat_streams_active", &[], 1000.0);
    case.open(2000, &[]);
    for _ in 0..4 {
        case.scrape().expect(BYTES, &[SENT], 2_000_000.0);
    }
    assert_eq!(case.exchanges.state.lock().unwrap().live_streams(), 0);
}

#[test]
fn an_answer_of_unknown_length_becomes_active_once_it_has_lasted() {
    let case = Case::of("");
    let open = still_open(&Exchange { body: Body::Unknown as u8, ..exchange() });
    case.open(2000, &[open]);
    let early = case.scrape();
    early.expect_none("chat_streams_active", &[]);
    early.expect("chat_http_requests_in_flight", &[], 1.0);
    case.open(2100, &[open]);
    let late = case.scrape();
    late.expect("chat_streams_active", &["kind=\"chunked\""], 1.0);
    late.expect("chat_http_requests_in_flight", &[], 0.0);
    case.end([ended(&open, 2200)]);
    case.open(2300, &[]);
    let over = case.scrape();
    over.expect("chat_streams_total", &["kind=\"chunked\""], 1.0);
    over.expect(BYTES, &[SENT], 2000.0);
    over.expect_none("chat_http_requests_total", &[]);
}

#[test]
fn a_stall_is_counted_while_it_lasts_and_not_again() {
    let case = Case::of("");
    let silent = still_open(&stream());
    for (now, stalls) in [(9_000, 0.0), (11_000, 1.0), (15_000, 1.0)] {
        case.open(now, &[silent]);
        case.scrape().expect("chat_stream_stalls_total", &[], stalls);
    }
    let mut gaps = [0; GAP_BUCKETS];
    gaps[13] = 1;
    let goes_on = Exchange { stalls: 1, gaps, last_event_ns: at(16_000), ..silent };
    case.open(16_500, &[goes_on]);
    case.scrape().expect("chat_stream_stalls_total", &[], 1.0);
    case.end([ended(&goes_on, 17_000)]);
    case.open(18_000, &[]);
    let over = case.scrape();
    over.expect("chat_stream_stalls_total", &[], 1.0);
    over.expect("chat_stream_gap_seconds_count", &[], 1.0);
}

#[test]
fn an_open_stream_whose_request_was_sent_ahead_has_its_route() {
    let case = Case::of("lobechat");
    let asked = asking("POST", "/webapi/chat/openai", &Exchange { index: 4, ..stream() });
    let (request, rest) = ahead(&asked);
    case.script.0.lock().unwrap().records.push(Record::Ahead(request));
    case.open(1000, &[still_open(&rest)]);
    let scraped = case.scrape();
    scraped.expect("chat_streams_active", &["route=\"/webapi/chat/{provider}\""], 1.0);
    scraped.expect("chat_stream_oldest_age_seconds", &[], 1.0);
    case.end([rest]);
    case.open(1100, &[]);
    let over = case.scrape();
    over.expect("chat_streams_total", &["route=\"/webapi/chat/{provider}\""], 1.0);
    over.expect(BYTES, &[SENT], 2000.0);
    over.expect("chat_app_events_total", &["event=\"chat_turn\"", "outcome=\"ok\""], 1.0);
}

#[test]
fn a_preexisting_stream_is_active_under_its_mark() {
    let case = Case::of("");
    let adopted = Exchange { flags: PREEXISTING, status: 0, response_ns: 0, ..still_open(&stream()) };
    case.open(500, &[adopted]);
    let scraped = case.scrape();
    scraped.expect("chat_streams_active", &["kind=\"sse\"", "route=\"{preexisting}\""], 1.0);
    scraped.expect("chat_http_requests_in_flight", &[], 0.0);
}

#[test]
fn a_target_that_left_takes_its_open_streams_along() {
    let case = Case::of("");
    case.open(1000, &[still_open(&stream())]);
    case.scrape();
    case.targets(&[(2, "other", "")]);
    case.scrape().expect_none("chat_streams_active", &[]);
    assert_eq!(case.exchanges.state.lock().unwrap().live_streams(), 0);
}

#[test]
fn a_walk_that_breaks_off_fails_its_collector_and_the_counts_are_still_served() {
    let case = Case::of("");
    case.end([exchange()]);
    case.open(1000, &[still_open(&Exchange { id: 5, ..stream() })]);
    case.script.0.lock().unwrap().broken = Some("the walk broke off");
    let scraped = case.scrape();
    scraped.expect("chat_http_requests_total", &[], 1.0);
    scraped.expect("chat_streams_active", &[], 1.0);
}
