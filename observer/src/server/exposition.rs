//! The body of /metrics: one scrape at a time, off the threads that serve, packed when asked.
//! Requests that come meanwhile wait for the next one, which they share; one whose client leaves gives up its place.

use std::{
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anyhow::Context as _;
use axum::http::{HeaderMap, header};
use flate2::{Compression, write::GzEncoder};
use tokio::sync::Semaphore;

use super::{
    Scrape,
    shared_body::{Bodies, SharedBody},
    thread::Outside,
};

#[derive(Clone)]
pub(super) struct Exposition {
    source: Arc<dyn Scrape>,
    turn: Arc<Semaphore>,
    shared: Arc<Mutex<Shared>>,
    /// Where scrapes run: the threads that serve may open nothing.
    outside: Outside,
}

/// What requests that wait may share.
#[derive(Default)]
struct Shared {
    waiting: usize,
    /// The last scrape, while somebody waits.
    last: Option<Scraped>,
    bodies: Bodies,
}

/// One scrape, plain and packed.
struct Scraped {
    began: Instant,
    forms: [Option<SharedBody>; 2],
}

/// A request that waits for its turn.
struct Waiting(Arc<Mutex<Shared>>);

impl Waiting {
    fn begin(shared: &Arc<Mutex<Shared>>) -> Self {
        lock(shared).waiting += 1;
        Self(Arc::clone(shared))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.waiting -= 1;
        if shared.waiting == 0 {
            shared.last = None;
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exposition {
    /// To be called on the runtime that scrapes are to run on.
    pub(super) fn new(source: Arc<dyn Scrape>) -> Self {
        Self { source, turn: Arc::new(Semaphore::new(1)), shared: Arc::default(), outside: Outside::here() }
    }

    pub(super) async fn text(&self, gzip: bool) -> anyhow::Result<SharedBody> {
        let came = Instant::now();
        let waiting = Waiting::begin(&self.shared);
        let turn = Arc::clone(&self.turn).acquire_owned().await?;
        let form = usize::from(gzip);
        // One that began before this request came would show it the past.
        let plain = match lock(&self.shared).last.as_ref().filter(|last| last.began >= came) {
            Some(last) => match &last.forms[form] {
                Some(body) => return Ok(body.clone()),
                None => last.forms[0].clone(),
            },
            None => None,
        };
        let (source, shared) = (Arc::clone(&self.source), Arc::clone(&self.shared));
        let scrape = move || -> anyhow::Result<SharedBody> {
            let began = Instant::now();
            let is_new = plain.is_none();
            let text = if let Some(plain) = plain.and_then(|plain| plain.bytes()) {
                pack(&plain)?
            } else {
                let text = source.scrape()?;
                if gzip { pack(&text)? } else { text }
            };
            let mut locked = lock(&shared);
            let body = locked.bodies.add(text);
            match &mut locked.last {
                Some(last) if !is_new => last.forms[form] = Some(body.clone()),
                last => {
                    let mut forms = [None, None];
                    forms[form] = Some(body.clone());
                    *last = Some(Scraped { began, forms });
                }
            }
            drop(locked);
            // The turn ends with the scrape, also when the client has left in the middle of it.
            drop(turn);
            drop(waiting);
            Ok(body)
        };
        self.outside.run(scrape).await.context("a collector panicked, which is a bug; the log says where")?
    }
}

fn pack(text: &[u8]) -> anyhow::Result<Vec<u8>> {
    // The text repeats itself so much that a better level gains little.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text)?;
    Ok(encoder.finish()?)
}

/// Whether `Accept-Encoding` names gzip without refusing it by a zero weight (RFC 9110, 12.5.3).
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        named && !parts.any(is_zero_weight)
    })
}

fn is_zero_weight(parameter: &str) -> bool {
    let weight = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
    weight.is_some_and(|weight| weight.trim().parse() == Ok(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_only_where_it_is_asked_for() {
        for (value, expected) in [
            ("gzip", true),
            ("identity, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("deflate, br", false),
            ("gzipped", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
