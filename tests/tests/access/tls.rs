//! TLS and client certificates, with curl.
//! A certificate that is replaced is served without a restart.

use anyhow::{Result, ensure};
use tests::process::{PATIENCE, wait_until};

use crate::{
    bed::{Bed, CLIENTS, TLS},
    curl::{Outcome, closed, curl, granted},
};

/// The peer's certificate cannot be verified (curl(1)).
const UNTRUSTED: i32 = 60;
/// The handshake failed, the server closed without an answer, or by a reset; which of them is a matter of time.
const REFUSED: [i32; 3] = [35, 52, 56];

#[test]
fn tls_is_trusted_by_its_authority_alone_and_speaks_no_plain_http() -> Result<()> {
    let bed = Bed::new()?;
    let agent = bed.agent(TLS)?;
    ensure!(agent.url.starts_with("https://"), "{}", agent.url);
    let ca = bed.path("ca.crt");
    for version in ["--tlsv1.2", "--tlsv1.3"] {
        granted(&[version, "--cacert", &ca, &agent.url])?;
    }
    granted(&["--tls-max", "1.2", "--cacert", &ca, &agent.url])?;
    granted(&["--compressed", "--cacert", &ca, &agent.url])?;
    closed(&[UNTRUSTED], &[&agent.url])?;
    closed(&[UNTRUSTED], &["--cacert", &bed.path("strangers.crt"), &agent.url])?;
    // 1: curl takes the alert for an answer of HTTP/0.9.
    closed(&[1, 52, 56], &[&agent.url.replace("https", "http")])?;
    Ok(())
}

/// Asks with a client certificate of the bed.
fn ask_as(bed: &Bed, name: &str, url: &str) -> Result<Outcome> {
    let [ca, certificate, key] =
        ["ca.crt", &format!("{name}.crt"), &format!("{name}.key")].map(|name| bed.path(name));
    curl(&["--cacert", &ca, "--cert", &certificate, "--key", &key, url])
}

#[test]
fn a_client_needs_a_certificate_of_the_right_authority() -> Result<()> {
    let bed = Bed::new()?;
    let mut agent = bed.agent(&format!("{TLS}{CLIENTS}"))?;
    let ca = bed.path("ca.crt");
    closed(&REFUSED, &["--cacert", &ca, &agent.url])?;
    let stranger = ask_as(&bed, "stranger", &agent.url)?;
    ensure!(REFUSED.contains(&stranger.code) && stranger.status == 0, "{stranger:?}");
    for path in ["/metrics", "/healthz", "/"] {
        let outcome = ask_as(&bed, "client", &agent.at(path))?;
        ensure!(outcome.code == 0 && outcome.status == 200, "{path}: {outcome:?}");
    }
    agent.process.wait_for("the refusal", PATIENCE, |line| line.contains("was refused").then_some(()))?;
    Ok(())
}

#[test]
fn a_new_certificate_is_served_without_a_restart_and_a_bad_one_is_not() -> Result<()> {
    let bed = Bed::new()?;
    let mut agent = bed.agent(TLS)?;
    let ca = bed.path("ca.crt");
    granted(&["--cacert", &ca, &agent.url])?;
    bed.write("server.crt", "no certificate")?;
    let complained = |line: &str| line.contains("of no use").then(|| line.to_owned());
    wait_until("the change is seen", PATIENCE, || {
        granted(&["--cacert", &ca, &agent.url])?;
        Ok(agent.process.output().lines().any(|line| complained(line).is_some()))
    })?;
    let complaint = agent.process.wait_for("a complaint", PATIENCE, complained)?;
    ensure!(complaint.contains("tls.certificate") && complaint.contains("server.crt"), "{complaint}");

    bed.sign("ca", "server")?;
    wait_until("the new certificate is served", PATIENCE, || {
        Ok(curl(&["--cacert", &ca, &agent.url])?.status == 200)
    })
}
