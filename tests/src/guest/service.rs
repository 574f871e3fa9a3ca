//! A server that answers as the query says, like `fixtures/http/app.js` and `fixtures/streams.js`, for guests without
//! Node.js. `/sse/…` and `/ndjson/…` are streams; any other path answers with a status and so many bytes.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::DefaultBodyLimit,
    http::{Response, StatusCode, Uri, header::CONTENT_TYPE},
};
use futures_util::stream::{iter, unfold};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep, sleep_until},
};

use super::LISTENING_WITHIN;
use crate::{
    cgroup::Cgroup,
    process::{Background, own_program},
    traffic,
};

/// The numbers of a query.
type Wanted = HashMap<String, u64>;

/// A running server; it is killed when this is dropped.
pub struct Service {
    _process: Background,
    address: SocketAddr,
}

impl Service {
    /// Starts one in `cgroup` on a free port of loopback.
    pub fn start(cgroup: &Cgroup) -> Result<Self> {
        let mut command = cgroup.command(own_program("guest")?);
        let mut process = Background::start(command.arg("serve"))?;
        let port = |line: &str| line.strip_prefix("listening on port ")?.parse().ok();
        let port = process.wait_for("port", LISTENING_WITHIN, port)?;
        Ok(Self { _process: process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves HTTP on a free port of loopback until the process is killed.
pub async fn serve() -> Result<()> {
    let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable());
    axum::serve(listen().await?, router).await.context("cannot serve")
}

/// Obeys the clients of `traffic` on a free port of loopback until the process is killed.
pub async fn obey() -> Result<()> {
    traffic::target::serve(listen().await?).await
}

/// Listens, and says where.
async fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await.context("cannot listen")?;
    println!("listening on port {}", listener.local_addr().context("cannot read the port")?.port());
    Ok(listener)
}

/// Answers after the whole request has come.
async fn answer(uri: Uri, _whole: Bytes) -> Response<Body> {
    let wanted = wanted(&uri);
    let number = |name: &str| wanted.get(name).copied().unwrap_or_default();
    match uri.path().split('/').nth(1) {
        Some("sse") => return stream("text/event-stream", "data: ", "\n\n", &wanted),
        Some("ndjson") => return stream("application/x-ndjson", "{\"text\":\"", "\"}\n", &wanted),
        _ => {}
    }
    sleep(Duration::from_millis(number("delay"))).await;
    let (bytes, chunks) = (number("bytes"), number("chunks"));
    let status = u16::try_from(number("status")).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = Response::default();
    *response.status_mut() = status.unwrap_or(StatusCode::BAD_REQUEST);
    if !matches!(status, Some(StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)) {
        *response.body_mut() = if chunks > 0 {
            let sizes = (0..chunks).map(move |chunk| bytes * (chunk + 1) / chunks - bytes * chunk / chunks);
            Body::from_stream(iter(sizes.map(filler)))
        } else {
            filler(bytes).map(Body::from).unwrap_or_default()
        };
    }
    response
}

fn wanted(uri: &Uri) -> Wanted {
    let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "a body's stream has results for items")]
fn filler(bytes: u64) -> Result<Bytes, Infallible> {
    Ok(Bytes::from(vec![b'y'; usize::try_from(bytes).unwrap_or(0)]))
}

/// `events` events of `size` bytes, one every `interval` milliseconds by the clock.
fn stream(kind: &'static str, before: &'static str, after: &'static str, wanted: &Wanted) -> Response<Body> {
    let number = |name: &str| wanted.get(name).copied().unwrap_or_default();
    let (events, size, interval) =
        (number("events"), number("size"), Duration::from_millis(number("interval")));
    let begun = Instant::now();
    let events = unfold(0, move |event| async move {
        if event == events {
            return None;
        }
        sleep_until(begun + interval * u32::try_from(event).unwrap_or(u32::MAX)).await;
        let text = "x".repeat(usize::try_from(size).unwrap_or(0));
        Some((Ok::<_, Infallible>(Bytes::from(format!("{before}{text}{after}"))), event + 1))
    });
    let mut response = Response::new(Body::from_stream(events));
    response.headers_mut().insert(CONTENT_TYPE, axum::http::HeaderValue::from_static(kind));
    response
}
