//! What must hold for whatever a stranger sends to the server, and for files of secrets.
//! Whoever reaches the port may send it anything, before it is known who he is.

#![expect(clippy::missing_panics_doc, reason = "a panic tells of a finding")]

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bcrypt::HashParts;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::{Builder, Runtime},
    sync::watch,
};

use super::{
    access::Access,
    activity::Activity,
    answer::{Terms, answer},
    passwords::{Passwords, Verdict, name_and_password},
    secret_files::{tokens, users},
    secrets::Secrets,
};
use crate::{config, fuzz::two_parts};

/// The token of the server, and what only those see who bring it.
const TOKEN: &str = "4f2d0d8fa3c5b0d7c0ffee";
const SECRET: &str = "observer_secret 1";

/// Bytes that a connection holds; more than an input and its answers have.
const ROOM: usize = 1 << 20;

/// How long a connection may take that says no more.
const ENDED_WITHIN: Duration = Duration::from_secs(9);

thread_local! {
    /// Made once: it takes longer than most inputs.
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_all().build().unwrap_or_else(|error| panic!("{error}"));
    /// The server that is asked.
    static TERMS: Terms = RUNTIME.with(|runtime| runtime.block_on(async { terms() }));
}

/// Those of a server that gives [`SECRET`] to whoever brings [`TOKEN`], and that never stops.
fn terms() -> Terms {
    let secrets = || Secrets::new(&[TOKEN.to_owned()], HashMap::new());
    let access = Access::with(secrets).unwrap_or_else(|error| panic!("{error:#}"));
    let router = access.guard(Router::new().route("/metrics", get(async || SECRET)));
    let (stop, stopped) = watch::channel(false);
    // One that is dropped stops it.
    std::mem::forget(stop);
    Terms { router, limits: config::Server::default(), tls: None, access, stopped }
}

/// A value of Authorization on the first line, and the file of tokens or users behind it: whoever brings one of the file's
/// tokens is let in, and nobody else.
pub fn credentials(bytes: &[u8]) {
    let (authorization, file) = two_parts(bytes);
    let (authorization, file) = (String::from_utf8_lossy(authorization), String::from_utf8_lossy(file));
    if let Ok(users) = users(&file) {
        for hash in users.values() {
            let cost = hash.text.parse::<HashParts>().map(|parts| parts.get_cost());
            assert!(cost.is_ok_and(|cost| cost == hash.cost && (4..=14).contains(&cost)), "{}", hash.cost);
        }
    }
    if let Ok(tokens) = tokens(&file) {
        assert!(tokens.iter().all(|token| !token.is_empty() && file.contains(token.as_str())));
        let brought =
            authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let known =
            brought.is_some_and(|(_, token)| tokens.iter().any(|known| known == token.trim_matches(' ')));
        let Ok(secrets) = Secrets::new(&tokens, HashMap::new()) else { return };
        let secrets = Arc::new(secrets);
        let judge = async { Passwords::default().judge(&secrets, &authorization).await };
        let judged = RUNTIME.with(|runtime| runtime.block_on(judge));
        let expected = if known { Verdict::Granted } else { Verdict::Denied };
        assert_eq!(judged, expected, "{authorization:?} with {tokens:?}");
    }
    name_and_password(&authorization);
    let (name, password) = (file.split(':').next().unwrap_or_default(), authorization.as_bytes());
    let encoded = BASE64_STANDARD.encode([name.as_bytes(), b":", password].concat());
    assert_eq!(name_and_password(&encoded), Some((name.to_owned(), password.to_owned())));
}

/// Bytes of a connection: it ends, and without the token nothing is given away.
pub fn requests(bytes: &[u8]) {
    let terms = TERMS.with(Terms::clone);
    let asked = async {
        let (mut client, server) = tokio::io::duplex(ROOM);
        let peer: Option<IpAddr> = None;
        let serving = answer(Box::new(server), peer, terms, Arc::new(Activity::new()));
        let mut answers = Vec::new();
        let asking = async {
            // A server that has heard enough closes before it has read all.
            client.write_all(bytes).await.ok();
            client.shutdown().await.ok();
            client.read_to_end(&mut answers).await.ok();
        };
        let both = async { tokio::join!(serving, asking) };
        assert!(
            tokio::time::timeout(ENDED_WITHIN, Box::pin(both)).await.is_ok(),
            "the connection did not end"
        );
        answers
    };
    let served = RUNTIME.with(|runtime| runtime.block_on(asked));
    let gave = served.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
    let brought = bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
    assert!(brought || !gave, "{}", String::from_utf8_lossy(&served));
    assert!(served.is_empty() || served.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&served));
}
