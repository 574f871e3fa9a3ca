//! What a scrape shows of one request, one stream of each kind and one event, to the byte.
//! `UPDATE_GOLDEN=1` writes the file anew.

use std::{fs, path::Path};

use observer_ebpf::records::{
    exchange::{Body, Exchange, SELF_CALL},
    histogram::GAP_BUCKETS,
};

use super::{Case, still_open};
use crate::exchanges::fixture::{asking, at, exchange};

#[test]
fn one_of_each_kind_looks_like_the_golden_file() {
    let case = Case::of("lobechat");
    let mut gaps = [0; GAP_BUCKETS];
    (gaps[4], gaps[13]) = (3, 1);
    let stream = |body: Body| {
        let ended_ns = at(30_000);
        let last_event_ns = at(29_000);
        let stalls = gaps[13];
        let body = body as u8;
        Exchange {
            body,
            ended_ns,
            last_event_ns,
            sent: 5,
            gaps,
            stalls,
            gap_sum_ns: 15_060_000_000,
            ..exchange()
        }
    };
    case.end([
        asking("GET", "/webapi/models/openai", &exchange()),
        asking("GET", "/favicon.txt", &Exchange { status: 404, ..exchange() }),
        asking("POST", "/webapi/chat/openai", &stream(Body::Sse)),
        asking("POST", "/webapi/chat/ollama", &Exchange { outcome: 1, ..stream(Body::Ndjson) }),
        asking("GET", "/socket", &Exchange { status: 101, received: 7, ..stream(Body::WebSocket) }),
        asking("GET", "/backup", &stream(Body::Unknown)),
        asking("POST", "/trpc/async/file.embeddingChunks", &Exchange { flags: SELF_CALL, ..exchange() }),
    ]);
    let open = still_open(&Exchange { id: 90, ..stream(Body::Sse) });
    case.open(30_500, &[asking("POST", "/webapi/chat/openai", &open)]);
    let text = case.scrape().0;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics-exchanges.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    for (line, (found, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {} of {}", line + 1, path.display());
    }
    assert_eq!(text, expected);
}
