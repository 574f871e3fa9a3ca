//! The HTTP server: /metrics, /healthz, /readyz and a page, on HTTP/1.1 with or without TLS.
//! What it needs is opened apart from serving, so that a taken port is known before anything is attached; requests are read
//! and answered in a thread that can open nothing.

mod access;
mod activity;
mod answer;
mod connections;
mod endpoint;
mod exposition;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod listener;
mod page;
mod passwords;
mod readiness;
mod refusals;
mod reload;
mod routes;
mod secret_files;
mod secrets;
mod shared_body;
#[cfg(test)]
mod tests;
mod thread;
mod tls;
#[cfg(test)]
mod tls_tests;
mod unix;

use std::sync::Arc;

pub use self::{endpoint::Endpoint, readiness::Readiness};
use crate::{config, targets::TargetList};

/// Produces the body of /metrics.
pub trait Scrape: Send + Sync + 'static {
    /// The exposition text. It may block, and is not called again before it has returned.
    fn scrape(&self) -> anyhow::Result<Vec<u8>>;
}

impl<F: Fn() -> anyhow::Result<Vec<u8>> + Send + Sync + 'static> Scrape for F {
    fn scrape(&self) -> anyhow::Result<Vec<u8>> {
        self()
    }
}

/// Where the answers come from.
#[derive(Clone)]
pub struct Sources {
    /// For /metrics.
    pub scrape: Arc<dyn Scrape>,
    /// For the page.
    pub targets: Arc<dyn TargetList>,
    /// For /readyz and the page.
    pub readiness: Readiness,
}

/// Answers until `shutdown` is done, then lets running answers end for at most half a second.
///
/// A scrape that blocks runs on after that, on the caller's runtime: end that with a time limit.
pub async fn serve(
    endpoint: Endpoint,
    limits: &config::Server,
    sources: Sources,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    thread::serve(endpoint, limits.clone(), routes::router(sources), shutdown).await
}
