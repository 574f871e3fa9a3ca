//! Networks and the Unix socket, with curl; and configurations that cannot hold.
//! Loopback has more than one address, so a client can be from elsewhere.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Result, ensure};
use tests::{agent, process::PATIENCE};

use crate::{
    bed::{Bed, TLS, TOKEN},
    curl::{closed, curl, denied, granted},
};

/// The server closed without an answer, or by a reset (curl(1)).
const CLOSED: [i32; 2] = [52, 56];

#[test]
fn only_the_networks_of_the_list_are_let_in() -> Result<()> {
    let bed = Bed::new()?;
    let mut agent = bed.agent("access.networks = [\"192.0.2.0/24\", \"127.0.0.8/30\", \"127.1.2.3\"]")?;
    for (source, admitted) in [
        ("127.0.0.1", false),
        ("127.0.0.7", false),
        ("127.0.0.8", true),
        ("127.0.0.11", true),
        ("127.0.0.12", false),
        ("127.1.2.3", true),
        ("127.1.2.4", false),
    ] {
        let asked = ["--interface", source, &agent.url];
        // No field of a request makes an address.
        let forged = ["--interface", source, "--header", "X-Forwarded-For: 127.1.2.3", &agent.url];
        for arguments in [&asked[..], &forged] {
            if admitted {
                granted(arguments)?;
            } else {
                closed(&CLOSED, arguments)?;
            }
        }
    }
    agent.process.wait_for("the refusal", PATIENCE, |line| {
        (line.contains("access.networks") && line.contains("127.0.0.1")).then_some(())
    })?;
    Ok(())
}

#[test]
fn a_client_of_ipv4_on_a_socket_of_both_families_is_of_its_network() -> Result<()> {
    let bed = Bed::new()?;
    let agent = bed.listening("[::]:0", "access.networks = [\"127.0.0.8\"]")?;
    let port = agent.address()?.rsplit(':').next().unwrap_or_default().to_owned();
    let url = format!("http://127.0.0.1:{port}/metrics");
    granted(&["--interface", "127.0.0.8", &url])?;
    closed(&CLOSED, &[&url])
}

#[test]
fn a_unix_socket_is_served_guarded_and_removed() -> Result<()> {
    let bed = Bed::new()?;
    let socket = bed.path("metrics.sock");
    let agent = bed.listening(&format!("unix:{socket}"), "")?;
    ensure!(agent.url == format!("unix:{socket}"), "{}", agent.url);
    granted(&["--unix-socket", &socket, "http://observer/metrics"])?;
    let mode = fs::metadata(&socket)?.permissions().mode() & 0o777;
    ensure!(mode == 0o660, "{mode:o}");
    // Another agent does not take it over.
    let ended = agent::run_to_end(&mut bed.command(&format!("unix:{socket}"), "")?)?;
    ensure!(ended.status.code() == Some(1) && ended.output.contains("taken by another process"), "{ended:?}");
    granted(&["--unix-socket", &socket, "http://observer/metrics"])?;
    ensure!(agent.process.stop()?.success(), "it did not stop cleanly");
    ensure!(!Path::new(&socket).exists(), "the socket is left");

    // One that was killed leaves it, and does not keep the next one out.
    drop(bed.listening(&format!("unix:{socket}"), "")?);
    ensure!(Path::new(&socket).exists(), "a killed agent cannot remove its socket");
    let agent = bed.listening(&format!("unix:{socket}"), "access.bearer_token_file = \"{}/token\"")?;
    denied(&["--unix-socket", &socket, "http://observer/metrics"])?;
    granted(&["--unix-socket", &socket, "--oauth2-bearer", TOKEN, "http://observer/metrics"])?;
    drop(agent);
    let agent = bed.listening(&format!("unix:{socket}"), TLS)?;
    let ca = bed.path("ca.crt");
    granted(&["--unix-socket", &socket, "--cacert", &ca, "https://127.0.0.1/metrics"])?;
    drop(agent);
    ensure!(curl(&["--unix-socket", &socket, "http://observer/metrics"])?.code == 7, "who answered?");
    Ok(())
}

#[test]
fn what_cannot_hold_is_said_before_anything_is_attached() -> Result<()> {
    let bed = Bed::new()?;
    for (config, code, parts) in [
        ("tls.certificate = \"{}/server.crt\"", 2, ["tls.certificate", "tls.key"]),
        ("tls.client_ca = \"{}/clients.crt\"", 2, ["tls.client_ca", "tls.certificate"]),
        ("access.networks = [\"10.0.0.0/33\"]", 2, ["access.networks", "10.0.0.0/33"]),
        ("tls.certificate = \"{}/server.crt\"\ntls.key = \"{}/client.key\"", 1, ["tls.key", "client.key"]),
        (
            "tls.certificate = \"{}/absent\"\ntls.key = \"{}/server.key\"",
            2,
            ["tls.certificate", "No such file"],
        ),
        ("access.users_file = \"{}/token\"", 1, ["access.users_file", "htpasswd -nB"]),
        ("access.bearer_token_file = \"{}/absent\"", 2, ["access.bearer_token_file", "No such file"]),
    ] {
        let ended = agent::run_to_end(&mut bed.command("127.0.0.1:0", config)?)?;
        ensure!(ended.status.code() == Some(code), "{config}: {ended:?}");
        ensure!(parts.iter().all(|part| ended.output.contains(part)), "{config}: {ended:?}");
        ensure!(!ended.output.contains("observing a target"), "{config}: it attached: {ended:?}");
    }
    Ok(())
}
