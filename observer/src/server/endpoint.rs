//! Where the metrics are served and on which terms, opened before anything is attached.
//! What would leave them open to a network, or passwords to be read on it, is said in the log.

use std::{fmt, fs, net::SocketAddr, os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use anyhow::Context as _;
use rustls::ServerConfig;

use super::{access::Access, listener::Listener, reload::Reloaded, tls};
use crate::config::Config;

/// Taken, and not answering yet. It is shown as what a client is given to reach it.
pub struct Endpoint {
    pub(super) listener: Listener,
    pub(super) tls: Option<Arc<Reloaded<ServerConfig>>>,
    pub(super) access: Access,
}

impl Endpoint {
    /// Reads certificates and secrets, then takes the port or the socket. Nothing is answered before
    /// [`serve`](super::serve).
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let unusable = "the server cannot be started as it is configured";
        let tls = tls::open(&config.tls).context(unusable)?;
        let access = Access::open(&config.access).context(unusable)?;
        let listener = Listener::bind(&config.listen).await?;
        let endpoint = Self { listener, tls, access };
        endpoint.warn(config);
        Ok(endpoint)
    }

    /// The address, where it is one and no Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.address()
    }

    fn warn(&self, config: &Config) {
        for (key, file) in [
            ("tls.key", config.tls.identity().map(|(_, key)| key)),
            ("access.bearer_token_file", config.access.bearer_token_file()),
            ("access.users_file", config.access.users_file()),
        ] {
            let Some(file) = file.filter(|file| may_be_read_by_others(file)) else { continue };
            tracing::warn!(
                key,
                file = %file.display(),
                "every user of this host can read a secret of the server; take that away with `chmod o-rwx`"
            );
        }
        let Some(address) = self.address().filter(|address| !address.ip().is_loopback()) else {
            return;
        };
        if self.access.asks_for_secrets() {
            if self.tls.is_none() {
                tracing::warn!(
                    %address,
                    "tokens and passwords pass the network unencrypted; name tls.certificate and tls.key"
                );
            }
        } else if config.tls.client_ca().is_none() && !self.access.asks_for_networks() {
            tracing::warn!(
                %address,
                "whoever reaches this address can read the metrics; listen on 127.0.0.1, or name tls.client_ca, \
                 access.networks, access.bearer_token_file or access.users_file"
            );
        }
    }
}

/// Whether the file's mode lets every user read it. Its folders may keep them out, which is not looked at.
fn may_be_read_by_others(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address(), &self.tls) {
            (Some(address), None) => write!(formatter, "http://{address}/metrics"),
            (Some(address), Some(_)) => write!(formatter, "https://{address}/metrics"),
            (None, _) => self.listener.fmt(formatter),
        }
    }
}
