//! Requests: what is counted of them, where they belong, and what of them is ignored.

use observer_ebpf::{
    records::exchange::{Exchange, Outcome, SELF_CALL},
    records::peer::Direction,
};

use super::{Case, Shared, still_open};
use crate::{
    exchanges::fixture::{ahead, asking, exchange},
    kernel::{Read, Record},
};

const TOTAL: &str = "chat_http_requests_total";
const DURATIONS: &str = "chat_http_request_duration_seconds_count";

#[test]
fn requests_are_counted_by_method_route_and_status() {
    let case = Case::of("lobechat");
    let asked = |method, path, status| asking(method, path, &Exchange { status, ..exchange() });
    case.end([
        asked("GET", "/api/files/17", 200),
        asked("GET", "/api/files/18", 200),
        asked("POST", "/api/files/18", 201),
        asked("GET", "/wp-login.php", 404),
        asked("GET", "/.env", 404),
    ]);
    let scraped = case.scrape();
    scraped.expect(
        TOTAL,
        &["container=\"web\"", "app=\"lobechat\"", "method=\"GET\"", "status_code=\"200\""],
        2.0,
    );
    scraped.expect(TOTAL, &["method=\"POST\"", "status_code=\"201\""], 1.0);
    scraped.expect(TOTAL, &["route=\"{unmatched}\"", "status_code=\"404\""], 2.0);
    scraped.expect(DURATIONS, &["method=\"GET\""], 4.0);
    scraped.expect("chat_http_request_duration_seconds_sum", &["method=\"POST\""], 0.05);
    assert_eq!(case.exchanges.with(1, |counts| counts.requests.cells().count()), Some(3));
}

#[test]
fn who_left_before_the_answer_shows_as_the_status() {
    let case = Case::of("");
    let unanswered =
        |outcome: Outcome| Exchange { status: 0, response_ns: 0, outcome: outcome as u8, ..exchange() };
    case.end(
        [Outcome::ClientAbort, Outcome::ClientAbort, Outcome::ServerAbort, Outcome::Timeout].map(unanswered),
    );
    let scraped = case.scrape();
    scraped.expect(TOTAL, &["status_code=\"499\""], 2.0);
    scraped.expect(TOTAL, &["status_code=\"000\""], 2.0);
    scraped.expect(DURATIONS, &[], 0.0);
}

#[test]
fn pipelined_requests_are_joined_and_those_whose_request_is_missing_are_counted_as_lost() {
    let case = Case::of("");
    let (request, rest) = ahead(&asking("PUT", "/late", &Exchange { index: 1, ..exchange() }));
    let (_, orphan) = ahead(&Exchange { index: 2, ..exchange() });
    case.script.0.lock().unwrap().records.push(Record::Ahead(request));
    case.end([exchange(), rest, orphan]);
    let scraped = case.scrape();
    scraped.expect(TOTAL, &["method=\"PUT\"", "route=\"/late\""], 1.0);
    scraped.expect("chat_http_request_duration_seconds_sum", &["method=\"PUT\""], 0.05);
    scraped.expect(TOTAL, &[], 2.0);
    assert_eq!(case.records.count(Read::Unjoined), 1);
}

#[test]
fn what_a_target_asks_of_itself_is_counted_apart_and_once() {
    let case = Case::of("lobechat");
    let call = asking("POST", "/webapi/chat/openai", &Exchange { flags: SELF_CALL, ..exchange() });
    case.end([call, Exchange { direction: Direction::Outbound as u8, ..call }]);
    case.open(60, &[still_open(&call)]);
    let scraped = case.scrape();
    scraped.expect("chat_http_self_requests_total", &["route=\"/webapi/chat/{provider}\""], 1.0);
    scraped.expect("chat_http_requests_in_flight", &[], 0.0);
    for name in [TOTAL, "chat_streams_total", "chat_streams_active", "chat_app_events_total"] {
        scraped.expect_none(name, &[]);
    }
}

#[test]
fn requests_in_flight_are_those_that_the_walk_sees_and_that_are_no_streams() {
    let case = Case::of("");
    case.scrape().expect("chat_http_requests_in_flight", &["container=\"web\""], 0.0);
    let waiting = Exchange { status: 0, response_ns: 0, in_flight: 3, ..still_open(&exchange()) };
    let stream = Exchange { id: 78, body: 2, in_flight: 2, ..still_open(&exchange()) };
    let outbound = Exchange { id: 79, direction: Direction::Outbound as u8, ..waiting };
    let over = Exchange { id: 80, ..exchange() };
    case.open(60, &[waiting, stream, outbound, over]);
    case.scrape().expect("chat_http_requests_in_flight", &[], 4.0);
    case.open(70, &[]);
    case.scrape().expect("chat_http_requests_in_flight", &[], 0.0);
}

#[test]
fn ten_thousand_ids_are_one_route_and_ten_thousand_404s_none() {
    let case = Case::with(Shared::default(), 20);
    case.targets(&[(1, "web", "lobechat")]);
    let requests = (0..10_000_u64).flat_map(|number| {
        let id = format!(
            "/api/chat/{:08x}-1d2e-4f3a-8b4c-{number:012x}",
            number.wrapping_mul(0x9e37_79b9) & 0xffff_ffff
        );
        let scanned = Exchange { status: 404, ..exchange() };
        [asking("GET", &id, &exchange()), asking("GET", &format!("/scan/{number}/x.php"), &scanned)]
    });
    case.end(requests);
    let scraped = case.scrape();
    scraped.expect(TOTAL, &["route=\"/api/chat/{uuid}\""], 10_000.0);
    scraped.expect(TOTAL, &["route=\"{unmatched}\""], 10_000.0);
    assert!(case.overflow.counts().iter().all(|count| count.overflows == 0));
    case.end((0..1000).map(|number| asking("GET", &format!("/made/up{}", words(number)), &exchange())));
    let scraped = case.scrape();
    scraped.expect(TOTAL, &[], 21_000.0);
    assert!(scraped.sum(TOTAL, &["route=\"other\""]).unwrap() > 900.0, "{}", scraped.0);
    let series = scraped.0.lines().filter(|line| line.starts_with(TOTAL)).count();
    assert!(series <= 22, "{series} series\n{}", scraped.0);
    assert!(case.overflow.counts()[0].overflows > 900, "{:?}", case.overflow.counts());
}

/// A number in letters, which the general rule takes for no id.
fn words(mut number: u32) -> String {
    let mut word = String::new();
    for _ in 0..4 {
        word.push(char::from(b'a' + u8::try_from(number % 10).unwrap()));
        number /= 10;
    }
    word
}

#[test]
fn records_of_a_target_to_come_wait_and_those_of_one_that_left_are_ignored() {
    let case = Case::of("");
    case.end([Exchange { target: 3, ..exchange() }, exchange()]);
    case.exchanges.take_in();
    case.scrape().expect(TOTAL, &[], 1.0);
    assert_eq!(case.records.count(Read::UnknownTarget), 0);
    case.targets(&[(1, "web", ""), (3, "new", "")]);
    case.scrape().expect(TOTAL, &["container=\"new\""], 1.0);
    case.targets(&[(3, "new", "")]);
    case.scrape().expect_none(TOTAL, &["container=\"web\""]);
    assert!(case.exchanges.with(1, |_| ()).is_none());
    case.end([exchange(), Exchange { target: 2, ..exchange() }]);
    case.scrape().expect(TOTAL, &[], 1.0);
    assert_eq!(case.records.count(Read::UnknownTarget), 2);
}

#[test]
fn events_have_their_outcome_from_the_status_and_the_end() {
    let case = Case::of("lobechat");
    let turn = |status, outcome: Outcome| {
        asking("POST", "/webapi/chat/openai", &Exchange { status, outcome: outcome as u8, ..exchange() })
    };
    case.end([
        turn(200, Outcome::Completed),
        turn(471, Outcome::Completed),
        turn(401, Outcome::Completed),
        turn(200, Outcome::ClientAbort),
        turn(0, Outcome::ClientAbort),
        turn(200, Outcome::Reset),
    ]);
    let scraped = case.scrape();
    for (outcome, count) in [("ok", 1.0), ("server_error", 2.0), ("client_error", 1.0), ("aborted", 2.0)] {
        let outcome = format!("outcome=\"{outcome}\"");
        scraped.expect("chat_app_events_total", &["event=\"chat_turn\"", &outcome], count);
    }
    scraped.expect("chat_app_event_duration_seconds_count", &["event=\"chat_turn\""], 6.0);
    // Only an answer that is none of an error is a stream by its route.
    scraped.expect("chat_streams_total", &["kind=\"chunked\"", "route=\"/webapi/chat/{provider}\""], 3.0);
    scraped.expect(TOTAL, &["status_code=\"471\""], 1.0);
    scraped.expect(TOTAL, &[], 3.0);
}

#[test]
fn what_a_target_asks_of_others_is_counted_by_the_name_of_the_service() {
    let case = Case::of("lobechat");
    let asked = |port| Exchange { port, direction: Direction::Outbound as u8, ..exchange() };
    let stream = Exchange { body: 2, ..asked(11434) };
    case.end([
        asking("POST", "/webapi/chat/openai", &stream),
        asking("GET", "/collections/17", &asked(6333)),
        asking("GET", "/collections/18", &Exchange { status: 503, ..asked(6333) }),
        Exchange { status: 0, response_ns: 0, ..asked(40_000) },
    ]);
    let scraped = case.scrape();
    let name = "chat_upstream_requests_total";
    // No profile of the target says what the paths of others mean.
    scraped.expect(name, &["upstream=\"ollama\"", "route=\"/webapi/chat/openai\""], 1.0);
    scraped.expect(name, &["upstream=\"qdrant\"", "route=\"/collections/{number}\""], 2.0);
    scraped.expect(name, &["upstream=\"qdrant\"", "status_code=\"503\""], 1.0);
    scraped.expect(name, &["upstream=\"other\"", "status_code=\"000\""], 1.0);
    scraped.expect("chat_upstream_request_duration_seconds_sum", &["upstream=\"qdrant\""], 0.1);
    scraped.expect("chat_upstream_time_to_first_byte_seconds_count", &[], 3.0);
    for inbound in [TOTAL, "chat_streams_total", "chat_app_events_total"] {
        scraped.expect_none(inbound, &[]);
    }
}
