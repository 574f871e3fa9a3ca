//! What is no HTTP, what is none any more, and what only looks like it: its bytes are counted as what they are, and no
//! request is made of them. A connection whose messages two readers could cut apart differently is given up.

use anyhow::{Context as _, Result};
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    http::{
        dialog::{
            Deed, Dialog,
            Side::{Client, Server},
        },
        ledger::Ledger,
        truth::Comparison,
    },
    metrics::Metrics,
    puppet::Puppet,
};

/// A whole request and its answer, on a route of its own.
const ASKED: &str = "GET /before HTTP/1.1\r\nHost: x\r\n\r\n";
const ANSWERED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
/// How servers answer what they do not understand.
const REFUSED: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Dialogs of which not a byte is HTTP, each with the protocol that its bytes count as.
fn strangers() -> Vec<(&'static str, Dialog)> {
    // A ClientHello and a ServerHello, then records of application data: RFC 8446 section 5.1.
    let hello = |kind: u8, length: u8| {
        let mut record = vec![22, 3, 1, 0, length, kind, 0, 0, length - 4, 3, 3];
        record.resize(usize::from(length) + 5, 0x5a);
        record
    };
    let data = |length: u8| [&[23, 3, 3, 0, length][..], &vec![0xa7; usize::from(length)]].concat();
    let tls = Dialog::default().client(hello(1, 200)).server(hello(2, 120));
    let tls = tls.client(data(100)).server(data(250)).client(data(40)).closed_by(Client);
    // RFC 9113 section 3.4: the preface, then empty SETTINGS of both sides and an acknowledgement.
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    let http2 = Dialog::default().client(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").client(settings);
    let http2 = http2.server(settings).server(b"\0\0\0\x04\x01\0\0\0\0").closed_by(Client);
    let mut random = fastrand::Rng::with_seed(11);
    let mut noise = |length: usize| -> Vec<u8> {
        // Above ASCII, so that it is no method, no version and no TLS by chance.
        (0..length).map(|_| random.u8(128..)).collect()
    };
    let noise = Dialog::default().client(noise(5000)).server(noise(3000)).client(noise(1)).closed_by(Server);
    let redis = Dialog::default().client("PING-PONG\r\n").server("+PONG\r\n").closed_by(Client);
    let greeting =
        Dialog::default().server("220 mail.example ESMTP\r\n").client("QUIT\r\n").closed_by(Server);
    vec![("tls", tls), ("unknown", http2), ("unknown", noise), ("unknown", redis), ("unknown", greeting)]
}

/// Port scans: nothing is said, or not even a line.
fn scans() -> Vec<Dialog> {
    let reset = Dialog::default().act(Client, Deed::Reset);
    let half = Dialog::default().client("GET /half HT").closed_by(Client);
    vec![Dialog::default().closed_by(Client), Dialog::default().closed_by(Server), reset, half]
}

/// Requests that two readers would cut apart differently, or that have no end.
fn smuggled() -> Vec<String> {
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "Content-Length: 5, 6\r\n\r\nhello!",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: 99999999999999999999\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\nz\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\nhello",
        "Content-Length : 5\r\n\r\nhello",
        "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\nhello",
    ]
    .map(|rest| format!("POST /smuggled HTTP/1.1\r\nHost: x\r\n{rest}"))
    .into()
}

/// What the agent tells of bytes.
fn bytes(metrics: &Metrics, protocol: &str) -> f64 {
    metrics.sum("observer_l7_bytes_total", &[("protocol", protocol)])
}

#[test]
fn what_is_no_http_is_no_request() -> Result<()> {
    let cgroup = Cgroup::create("observer-unknown")?;
    let mut puppet = Puppet::start(env!("CARGO_BIN_EXE_puppet"), &cgroup)?;
    let agent =
        Agent::start(["--docker-socket", "", "--target", &format!("{},app=generic", cgroup.selector())])?;
    let (mut tls, mut unknown) = (0, 0);
    for (protocol, dialog) in strangers() {
        puppet.serve(&dialog).with_context(|| protocol.to_owned())?;
        *if protocol == "tls" { &mut tls } else { &mut unknown } += dialog.bytes();
    }
    Comparison::wait_equal(&agent, |metrics| {
        let mut comparison = Comparison::of_counts(&Ledger::default(), metrics);
        comparison.count("bytes of TLS".to_owned(), tls, bytes(metrics, "tls"));
        comparison.count("bytes of unknown protocols".to_owned(), unknown, bytes(metrics, "unknown"));
        comparison.count("bytes of HTTP".to_owned(), 0, bytes(metrics, "http"));
        comparison
    })?;

    for dialog in scans() {
        puppet.serve(&dialog)?;
    }
    // Both directions: requests that are ambiguous, and answers that are.
    let mut ledger = Ledger::default();
    let mut whole = 0;
    for request in smuggled() {
        let dialog = Dialog::default().client(ASKED).server(ANSWERED).client(&request).server(REFUSED);
        puppet.serve(&dialog.closed_by(Server)).context(request)?;
        ledger.expect("GET", "/before", 200, 1, 0, 5);
        whole += (ASKED.len() + ANSWERED.len()) as u64;
    }
    for answer in smuggled() {
        let answer = answer.replace("POST /smuggled HTTP/1.1\r\nHost: x", "HTTP/1.1 200 OK\r\nDate: x");
        let dialog =
            Dialog::default().client(ASKED).server(ANSWERED).client(ASKED.replace("before", "after"));
        puppet.serve(&dialog.server(&answer).closed_by(Server)).context(answer)?;
        ledger.expect("GET", "/before", 200, 1, 0, 5);
        whole += (ASKED.len() + ANSWERED.len()) as u64;
    }
    let metrics = Comparison::wait_equal(&agent, |metrics| Comparison::of_counts(&ledger, metrics))?;
    let http = bytes(&metrics, "http");
    assert!(http >= whole as f64, "{http} bytes are HTTP, and {whole} for certain");
    assert!(bytes(&metrics, "unknown") > unknown as f64, "what follows a message that has no end is unknown");
    let given_up =
        metrics.sum("observer_records_lost_total", &[("kind", "exchange"), ("reason", "unparsed")]);
    assert!(given_up > 0.5, "what was given up is counted");
    assert!(metrics.sum("observer_records_lost_total", &[("reason", "ring_full")]) < 0.5);
    agent.stop()?;
    Ok(())
}
