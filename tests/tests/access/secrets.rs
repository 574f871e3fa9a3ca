//! Tokens and passwords, with curl: right ones, wrong ones, none, and those that change.
//! Everything together at the end.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Result, ensure};
use tests::process::{PATIENCE, wait_until};

use crate::{
    bed::{Bed, CLIENTS, Guarded, TLS, TOKEN, USERS},
    curl::{curl, denied, granted},
};

const BEARER: &str = "access.bearer_token_file = \"{}/token\"\n";
const BASIC: &str = "access.users_file = \"{}/users\"\n";

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[test]
fn a_bearer_token_opens_every_path_and_nothing_else_does() -> Result<()> {
    let bed = Bed::new()?;
    let agent = bed.agent(BEARER)?;
    let url = agent.url.as_str();
    granted(&["--header", &bearer(TOKEN), url])?;
    granted(&["--oauth2-bearer", TOKEN, url])?;
    let challenge = denied(&[url])?.to_lowercase();
    ensure!(challenge.contains("www-authenticate: bearer realm=\"observer\""), "{challenge}");
    ensure!(!challenge.contains("basic"), "{challenge}");
    for wrong in [&TOKEN[1..], "wrong", "", "\u{e4}"] {
        denied(&["--header", &bearer(wrong), url])?;
    }
    denied(&["--user", &format!("ali:{TOKEN}"), url])?;
    denied(&["--header", &bearer(TOKEN), "--header", &bearer("wrong"), url])?;
    // What there is, and what there is not, is not told to strangers.
    for path in ["/", "/healthz", "/readyz", "/nonesuch"] {
        denied(&[&agent.at(path)])?;
    }
    for (path, status) in [("/", 200), ("/healthz", 200), ("/nonesuch", 404)] {
        let outcome = curl(&["--header", &bearer(TOKEN), &agent.at(path)])?;
        ensure!(outcome.status == status, "{path}: {outcome:?}");
    }

    // A second one for the time of a change, then the first goes.
    bed.write("token", &format!("{TOKEN}\nnext-token\n"))?;
    wait_until("the new token is known", PATIENCE, || {
        Ok(curl(&["--header", &bearer("next-token"), url])?.status == 200)
    })?;
    granted(&["--header", &bearer(TOKEN), url])?;
    bed.write("token", "next-token\n")?;
    wait_until("the old token is gone", PATIENCE, || {
        Ok(curl(&["--header", &bearer(TOKEN), url])?.status == 401)
    })?;
    granted(&["--header", &bearer("next-token"), url])
}

#[test]
fn a_password_opens_and_a_wrong_one_a_wrong_name_and_a_removed_user_do_not() -> Result<()> {
    let bed = Bed::new()?;
    let mut agent = bed.agent(&format!("{BASIC}access.open_health = true\n"))?;
    let url = agent.url.clone();
    for _ in 0..3 {
        granted(&["--user", "ali:open: sesame", &url])?;
    }
    let challenge = denied(&[&url])?.to_lowercase();
    ensure!(challenge.contains("www-authenticate: basic realm=\"observer\""), "{challenge}");
    for wrong in ["ali:wrong", "ali:", "eve:open: sesame", "Ali:open: sesame", ":"] {
        denied(&["--user", wrong, &url])?;
    }
    denied(&["--header", &bearer("open: sesame"), &url])?;
    for path in ["/healthz", "/readyz"] {
        let outcome = curl(&[&agent.at(path)])?;
        ensure!([200, 503].contains(&outcome.status), "{path}: {outcome:?}");
    }
    denied(&[&agent.at("/")])?;
    denied(&[&agent.at("/healthz/")])?;
    agent.process.wait_for("the refusal", PATIENCE, |line| line.contains("users_file").then_some(()))?;

    bed.write("users", &USERS.replace("ali:", "ann:"))?;
    wait_until("the removed user is out", PATIENCE, || {
        Ok(curl(&["--user", "ali:open: sesame", &url])?.status == 401)
    })?;
    granted(&["--user", "ann:open: sesame", &url])
}

#[test]
fn a_secret_that_every_user_may_read_is_warned_of_by_its_name() -> Result<()> {
    let bed = Bed::new()?;
    let config = format!("{BEARER}{BASIC}{TLS}");
    let warned = |agent: &Guarded, name: &str| {
        let about = |line: &str| line.contains("every user of this host") && line.contains(name);
        agent.process.output().lines().any(about)
    };
    let secrets = ["token", "users", "server.key"].map(|name| bed.path(name));
    for (mode, is_open) in [(0o644, true), (0o640, false)] {
        for file in &secrets {
            fs::set_permissions(file, fs::Permissions::from_mode(mode))?;
        }
        let agent = bed.agent(&config)?;
        for file in &secrets {
            ensure!(warned(&agent, file) == is_open, "mode {mode:o} of {file}: {}", agent.process.output());
        }
        // A certificate is no secret.
        ensure!(!warned(&agent, &bed.path("server.crt")), "{}", agent.process.output());
    }
    Ok(())
}

#[test]
fn all_ways_hold_together() -> Result<()> {
    let bed = Bed::new()?;
    let agent = bed.agent(&format!("{BEARER}{BASIC}access.networks = [\"127.0.0.0/8\"]\n{TLS}{CLIENTS}"))?;
    let [ca, certificate, key] = ["ca.crt", "client.crt", "client.key"].map(|name| bed.path(name));
    let client = ["--cacert", &ca, "--cert", &certificate, "--key", &key, &agent.url];
    let with = |more: &[&'static str]| [more, &client].concat();
    let challenges = denied(&with(&[]))?.to_lowercase();
    for scheme in ["www-authenticate: bearer", "www-authenticate: basic"] {
        ensure!(challenges.contains(scheme), "{challenges}");
    }
    granted(&with(&["--oauth2-bearer", TOKEN]))?;
    granted(&with(&["--user", "ali:open: sesame"]))?;
    denied(&with(&["--user", "ali:wrong"]))?;
    ensure!(curl(&["--cacert", &ca, "--oauth2-bearer", TOKEN, &agent.url])?.status == 0, "no certificate");
    Ok(())
}
