//! The HTTP server: /metrics, /healthz, /readyz and a page, on plain HTTP/1.1.
//! Binding is apart from serving, so that a taken port is known before anything is attached.

mod connections;
mod exposition;
mod page;
mod readiness;
mod routes;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::anyhow;
use tokio::net::TcpListener;

pub use self::readiness::Readiness;
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

/// Takes the port. Nothing is answered before [`serve`].
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.map_err(|error| refused(address, &error))?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "the metrics are served beyond this host without encryption or authentication; \
             listen on 127.0.0.1, or let a firewall decide who reaches the port"
        );
    }
    Ok(listener)
}

fn refused(address: SocketAddr, error: &io::Error) -> anyhow::Error {
    let (port, ip) = (address.port(), address.ip());
    let another = "with --listen or `listen` in the configuration";
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow!(
                "port {port} on {ip} is taken by another process; stop it, or choose another port {another}"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            anyhow!("{ip} is no address of this host; choose another address {another}")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow!("port {port} on {ip} may not be taken by this user; choose a port from 1024 {another}")
        }
        _ => anyhow!("cannot listen on port {port} of {ip}: {error}; choose another address {another}"),
    }
}

/// Answers until `shutdown` is done, then lets running answers end for at most half a second.
///
/// A scrape that blocks runs on after that: end the runtime with a time limit.
pub async fn serve(
    listener: TcpListener,
    limits: &config::Server,
    sources: Sources,
    shutdown: impl Future<Output = ()>,
) {
    connections::serve(listener, limits, &routes::router(sources), shutdown).await;
}
