//! TLS by rustls: the server's certificate, and those that its clients must have.
//! TLS 1.2 and 1.3, with the cipher suites that rustls deems safe.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, anyhow, ensure};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::reload::Reloaded;
use crate::config;

/// The only protocol that is spoken inside (RFC 7301, 6).
const PROTOCOL: &[u8] = b"http/1.1";

/// TLS where it is configured.
pub(super) fn open(tls: &config::Tls) -> anyhow::Result<Option<Arc<Reloaded<ServerConfig>>>> {
    let Some((certificate, key)) = tls.identity() else {
        return Ok(None);
    };
    let files = [certificate, key].into_iter().chain(tls.client_ca()).map(Path::to_owned).collect();
    let tls = tls.clone();
    Reloaded::new(files, move || load(&tls)).map(Some)
}

fn load(tls: &config::Tls) -> anyhow::Result<ServerConfig> {
    let (certificate, key) = tls.identity().context("tls.certificate and tls.key are not named")?;
    let chain = certificates("tls.certificate", certificate)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| unusable("tls.key", key, &error, "a private key without a pass phrase"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = match tls.client_ca() {
        Some(authorities) => client_verifier(authorities, &provider)?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, private)
        .with_context(|| {
            format!("tls.key: {} is no key for the certificate in {}", key.display(), certificate.display())
        })?;
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(server)
}

fn client_verifier(
    authorities: &Path,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.client_ca", authorities)? {
        roots
            .add(certificate)
            .with_context(|| format!("tls.client_ca: {} has a damaged certificate", authorities.display()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .with_context(|| format!("tls.client_ca: {} is of no use", authorities.display()))
}

fn certificates(name: &str, file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let wanted = "one or more certificates";
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let found = read.map_err(|error| unusable(name, file, &error, wanted))?;
    ensure!(!found.is_empty(), unusable(name, file, &pem::Error::NoItemsFound, wanted));
    Ok(found)
}

fn unusable(name: &str, file: &Path, error: &pem::Error, wanted: &str) -> anyhow::Error {
    let shown = file.display();
    match error {
        pem::Error::Io(error) => anyhow!("{name}: cannot read {shown}: {error}"),
        pem::Error::NoItemsFound => {
            anyhow!("{name}: {shown} has no such thing; it must be PEM with {wanted}")
        }
        other => anyhow!("{name}: {shown} is damaged: {other}; it must be PEM with {wanted}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            file
        };
        let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (one, other) = (made("one"), made("other"));
        let certificate = write("one.crt", &one.cert.pem());
        let key = write("one.key", &one.signing_key.serialize_pem());
        let good = config::Tls { certificate, key, client_ca: write("ca.crt", &other.cert.pem()) };
        assert!(load(&good).is_ok());
        assert!(load(&config::Tls { client_ca: "".into(), ..good.clone() }).is_ok());

        let text = write("text", "no PEM");
        let wrong_key = write("other.key", &other.signing_key.serialize_pem());
        let absent = folder.path().join("absent");
        for (tls, parts) in [
            (
                config::Tls { certificate: absent.clone(), ..good.clone() },
                ["tls.certificate", "No such file"],
            ),
            (config::Tls { certificate: text.clone(), ..good.clone() }, ["tls.certificate", "certificates"]),
            (config::Tls { key: absent.clone(), ..good.clone() }, ["tls.key", "No such file"]),
            (config::Tls { key: good.certificate.clone(), ..good.clone() }, ["tls.key", "pass phrase"]),
            (config::Tls { key: wrong_key, ..good.clone() }, ["tls.key", "no key for the certificate"]),
            (config::Tls { client_ca: absent, ..good.clone() }, ["tls.client_ca", "No such file"]),
            (config::Tls { client_ca: text, ..good.clone() }, ["tls.client_ca", "certificates"]),
        ] {
            let error = format!("{:#}", load(&tls).unwrap_err());
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
