//! Who may read what is served: encryption and certificates, networks, tokens and passwords.
//! What contradicts itself is refused here, before anything is opened.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Config, Listen, value};

/// `[tls]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Chain of certificates in PEM, the server's own first; empty: no TLS.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// Certificates in PEM of whoever signs those of clients; empty: clients need none.
    pub client_ca: PathBuf,
}

/// `[access]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// From where connections are taken; empty: from everywhere.
    #[serde(with = "value::networks")]
    pub networks: Vec<IpNet>,
    /// File with bearer tokens; empty: none.
    pub bearer_token_file: PathBuf,
    /// File with names and hashed passwords; empty: none.
    pub users_file: PathBuf,
    /// Whether /healthz and /readyz ask for neither token nor password.
    pub open_health: bool,
}

/// A path that is configured, or none where it is empty.
fn named(path: &Path) -> Option<&Path> {
    (!path.as_os_str().is_empty()).then_some(path)
}

impl Tls {
    /// Certificate and key, where TLS is on.
    pub fn identity(&self) -> Option<(&Path, &Path)> {
        named(&self.certificate).zip(named(&self.key))
    }

    /// Who signs the certificates of clients, where they need one.
    pub fn client_ca(&self) -> Option<&Path> {
        named(&self.client_ca)
    }
}

impl Access {
    /// The file of tokens, where there is one.
    pub fn bearer_token_file(&self) -> Option<&Path> {
        named(&self.bearer_token_file)
    }

    /// The file of names and passwords, where there is one.
    pub fn users_file(&self) -> Option<&Path> {
        named(&self.users_file)
    }
}

impl Config {
    /// Keys that contradict each other, which no key can tell by itself.
    pub(super) fn contradictions(&self) -> impl Iterator<Item = &'static str> {
        let Self { tls, access, listen, .. } = self;
        let half_an_identity = named(&tls.certificate).is_some() != named(&tls.key).is_some();
        let no_credentials = access.bearer_token_file().is_none() && access.users_file().is_none();
        let found = [
            (half_an_identity, "tls.certificate and tls.key belong together; name both files, or neither"),
            (
                tls.client_ca().is_some() && tls.identity().is_none() && !half_an_identity,
                "tls.client_ca asks clients for certificates, which needs TLS; name tls.certificate and tls.key too",
            ),
            (
                !access.networks.is_empty() && matches!(listen, Listen::Unix(_)),
                "access.networks decides by the client's address, and a Unix socket's clients have none; leave it \
                 empty, and let the permissions of the socket's folder decide",
            ),
            (
                access.open_health && no_credentials,
                "access.open_health exempts from tokens and passwords, and none are asked for; name \
                 access.bearer_token_file or access.users_file too",
            ),
        ];
        found.into_iter().filter(|(holds, _)| *holds).map(|(_, why)| why)
    }
}
