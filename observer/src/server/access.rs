//! Who is let in: by network before anything is read, by token or password before a path is looked at.
//! Client certificates are checked by TLS itself, between the two.

use std::{net::IpAddr, path::Path, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::Router,
};
use ipnet::IpNet;

use super::{
    passwords::{Passwords, Verdict},
    refusals::{Reason, Refusals},
    reload::Reloaded,
    secrets::Secrets,
};
use crate::config;

/// The paths that `access.open_health` opens.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// The address that a request is from, where it has one; among a request's extensions.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) Option<IpAddr>);

/// The rules.
#[derive(Clone)]
pub(super) struct Access {
    networks: Arc<[IpNet]>,
    secrets: Option<Arc<Reloaded<Secrets>>>,
    open_health: bool,
    passwords: Passwords,
    refusals: Arc<Refusals>,
}

impl Access {
    pub(super) fn open(access: &config::Access) -> anyhow::Result<Self> {
        let files: Vec<_> =
            access.bearer_token_file().into_iter().chain(access.users_file()).map(Path::to_owned).collect();
        let secrets = if files.is_empty() {
            None
        } else {
            let access = access.clone();
            Some(Reloaded::new(files, move || Secrets::load(&access))?)
        };
        Ok(Self {
            networks: access.networks.clone().into(),
            secrets,
            open_health: access.open_health,
            passwords: Passwords::default(),
            refusals: Arc::new(Refusals::default()),
        })
    }

    /// Everywhere, for whoever has one of these secrets.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn with(
        secrets: impl Fn() -> anyhow::Result<Secrets> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            networks: Arc::new([]),
            secrets: Some(Reloaded::new(Vec::new(), secrets)?),
            open_health: false,
            passwords: Passwords::default(),
            refusals: Arc::new(Refusals::default()),
        })
    }

    /// Whether requests need a token or a password.
    pub(super) fn asks_for_secrets(&self) -> bool {
        self.secrets.is_some()
    }

    /// Whether only some networks are let in.
    pub(super) fn asks_for_networks(&self) -> bool {
        !self.networks.is_empty()
    }

    /// Whether connections from this address are taken; one without an address came by a Unix socket.
    pub(super) fn admits(&self, peer: Option<IpAddr>) -> bool {
        let Some(peer) = peer else { return true };
        let admitted =
            !self.asks_for_networks() || self.networks.iter().any(|network| network.contains(&peer));
        if !admitted {
            self.refusals.note(Some(peer), Reason::Network, &"closed at once");
        }
        admitted
    }

    /// Says that TLS could not be agreed on.
    pub(super) fn note_handshake(&self, peer: Option<IpAddr>, detail: &dyn std::fmt::Display) {
        self.refusals.note(peer, Reason::Handshake, detail);
    }

    /// Puts the rules before every path, also those that there are not.
    pub(super) fn guard(&self, router: Router) -> Router {
        if self.asks_for_secrets() {
            router.layer(middleware::from_fn_with_state(self.clone(), require))
        } else {
            router
        }
    }
}

async fn require(State(access): State<Access>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let open = access.open_health && HEALTH.contains(&path);
    let Some(secrets) = access.secrets.as_ref().filter(|_| !open) else {
        return next.run(request).await;
    };
    let secrets = secrets.current().await;
    let mut fields = request.headers().get_all(header::AUTHORIZATION).iter();
    // Two of them are nobody's: which one counts would be a guess.
    let authorization = fields.next().filter(|_| fields.next().is_none());
    let verdict = match authorization.and_then(|field| field.to_str().ok()) {
        Some(authorization) => access.passwords.judge(&secrets, authorization).await,
        None => Verdict::Denied,
    };
    match verdict {
        Verdict::Granted => next.run(request).await,
        Verdict::Denied => {
            let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0);
            access.refusals.note(peer, Reason::Credentials, &"answered with 401");
            denied(&secrets)
        }
        Verdict::Busy => {
            let text = "too many passwords are being checked; try again\n";
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], text).into_response()
        }
    }
}

fn denied(secrets: &Secrets) -> Response {
    let text = "a token or a password is needed; see access in the configuration of observer\n";
    let mut response = (StatusCode::UNAUTHORIZED, text).into_response();
    for challenge in secrets.challenges() {
        response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}
