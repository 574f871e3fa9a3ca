//! A target that is called otherwise while it is observed: its series move, and nothing in them starts anew or doubles.

use observer_ebpf::records::exchange::{Body, Exchange};

use super::{Case, Shared, still_open};
use crate::exchanges::fixture::{asking, at, exchange};

const TOTAL: &str = "chat_http_requests_total";

#[test]
fn counts_move_with_the_labels_and_new_requests_have_the_new_routes() {
    let case = Case::of("");
    let chat = |id| asking("POST", "/webapi/chat/openai", &Exchange { id, ..exchange() });
    case.end([chat(1)]);
    let open = still_open(&Exchange { id: 9, body: Body::Sse as u8, ..chat(9) });
    case.open(1_000, &[open]);
    let before = case.scrape();
    before.expect(TOTAL, &["app=\"\"", "route=\"/webapi/chat/openai\""], 1.0);
    before.expect("chat_streams_active", &["app=\"\"", "route=\"/webapi/chat/openai\""], 1.0);
    before.expect_none("chat_app_events_total", &[]);

    case.targets(&[(1, "renamed", "lobechat")]);
    case.end([chat(2)]);
    case.open(2_000, &[Exchange { response_bytes: 5_000, ..open }]);
    let after = case.scrape();
    after.expect_none(TOTAL, &["container=\"web\""]);
    after.expect(TOTAL, &["container=\"renamed\"", "app=\"lobechat\"", "route=\"/webapi/chat/openai\""], 1.0);
    after.expect("chat_streams_total", &["route=\"/webapi/chat/{provider}\""], 1.0);
    after.expect("chat_app_events_total", &["app=\"lobechat\"", "event=\"chat_turn\""], 1.0);
    // An open stream stays where it began.
    after.expect("chat_streams_active", &["app=\"lobechat\"", "route=\"/webapi/chat/openai\""], 1.0);
    after.expect(
        "chat_stream_bytes_total",
        &["route=\"/webapi/chat/openai\"", "direction=\"sent\""],
        5_000.0,
    );
    case.end([Exchange { ended_ns: at(3_000), outcome: 0, response_bytes: 6_000, ..open }]);
    case.open(4_000, &[]);
    let over = case.scrape();
    over.expect("chat_stream_bytes_total", &["route=\"/webapi/chat/openai\"", "direction=\"sent\""], 6_000.0);
    over.expect("chat_streams_total", &[], 2.0);
}

#[test]
fn fifty_changes_make_no_further_routes_and_lose_no_request() {
    let case = Case::with(Shared::default(), 20);
    for round in 0..50_u32 {
        let app = ["", "lobechat", "openwebui"][round as usize % 3];
        case.targets(&[(1, &format!("name-{round}"), app)]);
        case.end(
            (0..10)
                .map(|path| asking("GET", &format!("/made/up{}", super::requests::words(path)), &exchange())),
        );
        let scraped = case.scrape();
        scraped.expect(TOTAL, &[], f64::from(round + 1) * 10.0);
        scraped.expect(TOTAL, &[&format!("container=\"name-{round}\"")], f64::from(round + 1) * 10.0);
        let series = scraped.0.lines().filter(|line| line.starts_with(TOTAL)).count();
        // Each app names some of these paths in its own way, and none a second time.
        assert!(series <= 22, "{series} series\n{}", scraped.0);
    }
}
