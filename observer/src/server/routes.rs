//! Which path answers what.
//! GET and HEAD only; other methods get 405, other paths 404.

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};

use super::{
    Sources,
    exposition::{self, Exposition},
    page,
};

/// Content type of the Prometheus text format
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/#basic-info>).
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page loads nothing from anywhere; its one style sheet is inside it.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

#[derive(Clone)]
struct App {
    exposition: Exposition,
    sources: Sources,
}

pub(super) fn router(sources: Sources) -> Router {
    let exposition = Exposition::new(sources.scrape.clone());
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .fallback(async || (StatusCode::NOT_FOUND, "not found; there is /metrics, /healthz, /readyz and /\n"))
        .with_state(App { exposition, sources })
}

async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    let gzip = exposition::accepts_gzip(&headers);
    let body = match app.exposition.text(gzip).await {
        Ok(body) => body,
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "a scrape failed");
            return (StatusCode::INTERNAL_SERVER_ERROR, format!("the scrape failed: {error:#}\n"))
                .into_response();
        }
    };
    let kind = [(header::CONTENT_TYPE, TEXT_FORMAT), (header::VARY, "accept-encoding")];
    if gzip {
        (kind, [(header::CONTENT_ENCODING, "gzip")], Body::new(body)).into_response()
    } else {
        (kind, Body::new(body)).into_response()
    }
}

async fn readyz(State(app): State<App>) -> Response {
    match app.sources.readiness.reason() {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
    }
}

async fn index(State(app): State<App>) -> Response {
    let Sources { targets, readiness, .. } = &app.sources;
    let (not_ready, waiting) = (readiness.reason(), targets.waiting());
    let html = page::render(page::View {
        not_ready: not_ready.as_deref(),
        targets: &targets.targets(),
        waiting: &waiting,
        counts: targets.state_counts(),
    });
    let security = [
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (security, Html(html)).into_response()
}
