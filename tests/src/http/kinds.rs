//! What a mixed load is made of: kinds of requests, each with the route that a metric is to show for it.
//! Placeholders in a path are filled from small pools, so that the paths of a load can be counted too.

use std::fmt::Write as _;

use fastrand::Rng;

use super::client::Request;

/// Different values of each placeholder.
const POOL: u64 = 200;

/// One kind of request.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// How often it comes, beside the others.
    pub weight: u32,
    /// The method.
    pub method: &'static str,
    /// The path, with `{number}`, `{uuid}` and `{hash}` in it.
    pub path: &'static str,
    /// The label `route` that it is to have.
    pub route: &'static str,
    /// The status that the server is asked for; another one is what counts all the same.
    pub status: u16,
    /// Most bytes of the request's body.
    pub body: usize,
    /// Most bytes of the response's.
    pub answer: usize,
    /// Most milliseconds that the server waits before it answers, where it can.
    pub delay: u32,
    /// Whether body and answer come in chunks, as far as there are any.
    pub chunked: bool,
}

/// A plain kind, for the table.
const fn kind(
    weight: u32,
    method: &'static str,
    path: &'static str,
    status: u16,
    body: usize,
    answer: usize,
) -> Kind {
    Kind { weight, method, path, route: path, status, body, answer, delay: 0, chunked: false }
}

const UNMATCHED: &str = "{unmatched}";

/// The mix: every method that an app uses, twelve routes, statuses of every class.
pub const MIXED: &[Kind] = &[
    kind(8, "GET", "/", 200, 0, 3000),
    kind(12, "GET", "/api/items/{number}", 200, 0, 1500),
    kind(4, "GET", "/api/items/{number}", 304, 0, 0),
    Kind { route: UNMATCHED, ..kind(3, "GET", "/api/items/{number}", 404, 0, 100) },
    kind(3, "PUT", "/api/items/{number}", 200, 2000, 300),
    kind(3, "PATCH", "/api/items/{number}", 400, 500, 80),
    kind(3, "DELETE", "/api/items/{number}", 204, 0, 0),
    kind(6, "POST", "/api/chats", 201, 3000, 200),
    kind(2, "OPTIONS", "/api/chats", 204, 0, 0),
    Kind { chunked: true, ..kind(8, "GET", "/api/chats/{uuid}/messages", 200, 0, 5000) },
    Kind { chunked: true, ..kind(4, "POST", "/api/chats/{uuid}/messages", 200, 4000, 2000) },
    kind(1, "POST", "/api/chats/{uuid}/messages", 500, 1000, 50),
    kind(2, "HEAD", "/api/chats/{uuid}", 200, 0, 1000),
    Kind { route: "/static/*", ..kind(6, "GET", "/static/js/main-{hash}.js", 200, 0, 20_000) },
    kind(1, "GET", "/old/{number}", 301, 0, 100),
    kind(2, "POST", "/v1/embeddings", 200, 8000, 6000),
    kind(2, "POST", "/v1/embeddings", 429, 800, 60),
    kind(3, "GET", "/healthz", 200, 0, 2),
    kind(1, "GET", "/healthz", 503, 0, 20),
    Kind { route: UNMATCHED, ..kind(1, "GET", "/wp-login/{hash}", 404, 0, 100) },
];

/// Answers that take their time, so that every bucket of a duration has its share.
pub const SLOW: &[Kind] = &[
    Kind { delay: 120, ..kind(3, "GET", "/api/slow/{number}", 200, 0, 500) },
    Kind { delay: 60, chunked: true, ..kind(1, "POST", "/api/slow", 200, 2000, 2000) },
];

/// Bodies and answers of many segments. Each request's head is in one segment and each length is known, so that nothing
/// is left to chance where segments are lost or late.
pub const LONG: &[Kind] = &[
    kind(4, "GET", "/api/items/{number}", 200, 0, 1000),
    kind(4, "GET", "/api/files/{hash}", 200, 0, 60_000),
    Kind { chunked: true, ..kind(4, "GET", "/api/chats/{uuid}/messages", 200, 0, 20_000) },
    kind(4, "POST", "/api/chats", 201, 20_000, 300),
    kind(2, "PUT", "/api/files/{hash}", 204, 60_000, 0),
    kind(1, "POST", "/api/chats", 500, 5000, 20),
    Kind { route: UNMATCHED, ..kind(1, "GET", "/missing/{hash}", 404, 0, 3000) },
    kind(1, "HEAD", "/api/files/{hash}", 200, 0, 60_000),
];

impl Kind {
    /// A request of this kind.
    pub fn request(&self, rng: &mut Rng) -> Request {
        let size = |most: usize, rng: &mut Rng| if most == 0 { 0 } else { rng.usize(1..=most) };
        let (body, answer) = (size(self.body, rng), size(self.answer, rng));
        let chunks = if self.chunked && answer > 0 { rng.usize(1..5) } else { 0 };
        // The query says what is wanted; it must never be seen in a metric.
        let mut query = format!("status={}&bytes={answer}&chunks={chunks}", self.status);
        if self.delay > 0 {
            let _ = write!(query, "&delay={}", rng.u32(0..=self.delay));
        }
        let target = format!("{}?{query}", fill(self.path, rng));
        Request { method: self.method, target, body, chunked: self.chunked && body > 0 }
    }
}

/// A kind at random, as often as its weight says.
pub fn choose<'k>(kinds: &'k [Kind], rng: &mut Rng) -> Option<&'k Kind> {
    let all = kinds.iter().map(|kind| kind.weight).sum();
    let mut left = rng.u32(0..all);
    kinds.iter().find(|kind| {
        let chosen = left < kind.weight;
        left = left.saturating_sub(kind.weight);
        chosen
    })
}

/// Puts values into the place of a path's placeholders.
fn fill(path: &str, rng: &mut Rng) -> String {
    let number = rng.u64(1..=POOL);
    path.replace("{number}", &number.to_string())
        .replace("{uuid}", &format!("3f2504e0-4f89-41d3-9a0c-{number:012x}"))
        .replace("{hash}", &format!("7e1f{number:08x}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_occurs_and_none_has_a_placeholder_left() {
        let mut rng = Rng::with_seed(7);
        let mut seen = BTreeSet::new();
        for _ in 0..10_000 {
            let kind = choose(MIXED, &mut rng).unwrap();
            let request = kind.request(&mut rng);
            assert!(!request.target.contains('{'), "{request:?}");
            assert!(request.body <= kind.body, "{request:?}");
            seen.insert((kind.method, kind.path, kind.status));
        }
        assert_eq!(seen.len(), MIXED.len());
    }
}
