//! What is no HTTP, what is none any more, and what only looks like it: its bytes are counted as what they are, and no
//! request is made of them. A connection whose messages two readers could cut apart differently is given up.

use anyhow::{Context as _, Result};
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    http::{
        ledger::Ledger,
        strangers::{self, ANSWERED, ASKED},
        truth::Comparison,
    },
    metrics::Metrics,
    puppet::Puppet,
};

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
    for (protocol, dialog) in strangers::strangers() {
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

    for dialog in strangers::scans() {
        puppet.serve(&dialog)?;
    }
    let mut ledger = Ledger::default();
    let mut whole = 0;
    for dialog in strangers::ambiguous() {
        puppet.serve(&dialog).with_context(|| format!("{dialog:?}"))?;
        ledger.expect("GET", "/before", 200, 1, 0, 5);
        whole += ASKED.len() + ANSWERED.len();
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
