//! The real server with TLS on a free port of loopback, asked by a client of rustls.
//! What holds without encryption must hold with it: limits of time and size, whole answers, a clean end.

use std::{fs, net::Ipv4Addr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::tests::{BODY, PATIENCE, Running, is_closed, start_with};
use crate::config::{self, Config, Listen};

struct Server {
    running: Running,
    authority: CertificateDer<'static>,
    _folder: TempDir,
}

impl Server {
    async fn start(limits: config::Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let [certificate, key] = ["crt", "key"].map(|name| folder.path().join(name));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let config = Config {
            listen: Listen::Address((Ipv4Addr::LOCALHOST, 0).into()),
            tls: config::Tls { certificate, key, ..config::Tls::default() },
            server: limits,
            ..Config::default()
        };
        let running = start_with(&config, || Ok(BODY.as_bytes().to_vec())).await;
        Self { running, authority: made.cert.der().clone(), _folder: folder }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(self.running.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap()
    }
}

/// Reads until the server closes, which rustls takes for an error unless the server has said so.
async fn rest(stream: &mut TlsStream<TcpStream>) -> String {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server did not close").unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_whole_and_its_end_is_said() {
    let server = Server::start(config::Server::default()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(BODY), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mebibyte_of_headers_is_refused_and_the_answer_arrives() {
    let server = Server::start(config::Server::default()).await;
    let mut stream = server.connect().await;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(1 << 20));
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_ended_before_in_and_after_the_handshake() {
    let limits = config::Server { idle_timeout: Duration::from_secs(1), ..config::Server::default() };
    let server = Server::start(limits).await;
    let mut silent = TcpStream::connect(server.running.address).await.unwrap();
    let mut half = TcpStream::connect(server.running.address).await.unwrap();
    // A record of 512 bytes that does not come.
    half.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252]).await.unwrap();
    let mut shaken = server.connect().await;
    let mut half_a_head = server.connect().await;
    half_a_head.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await.unwrap();
    assert!(is_closed(&mut silent).await);
    assert!(is_closed(&mut half).await);
    for stream in [&mut shaken, &mut half_a_head] {
        // Closed without a word: no tickets of the session are an answer.
        let mut bytes = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it is still open");
        assert!(bytes.is_empty(), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_for_no_handshake() {
    let server = Server::start(config::Server::default()).await;
    let mut silent = TcpStream::connect(server.running.address).await.unwrap();
    let mut idle = server.connect().await;
    // A client's handshake ends before the server's (RFC 8446, 2); an answer shows that both have.
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        let read = timeout(PATIENCE, idle.read_buf(&mut answer)).await.unwrap().unwrap();
        assert!(read > 0, "the server closed");
    }
    server.running.stop.send(()).unwrap();
    timeout(PATIENCE, server.running.served).await.unwrap().unwrap();
    assert!(is_closed(&mut silent).await);
    assert_eq!(rest(&mut idle).await, "");
}
