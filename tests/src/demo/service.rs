//! The demo chat service: pages, a JSON API, answers as server-sent events, a WebSocket, an upload.
//! What a chat application does on the wire, with a mock model behind it.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::{Html, Sse, sse::Event},
    routing::{get, post},
};
use futures_util::stream::{Stream, unfold};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    model::Completion,
    pages::{self, Message, Session, Sessions},
    tally::Ledger,
    upstream::Answer,
    websocket,
};

/// The largest upload that is taken, in bytes.
const UPLOAD_LIMIT: usize = 8 << 20;

/// A question to the chat.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Question {
    /// Session it belongs to.
    pub session: u32,
    /// What is asked.
    pub text: String,
    /// How long the answer shall be.
    pub max_tokens: u32,
    /// After how many tokens the model falls silent, if it shall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_after: Option<u32>,
}

/// What the handlers share.
#[derive(Debug)]
struct Service {
    model: SocketAddr,
    /// Counts the calls to the model.
    calls: Arc<Ledger>,
    sessions: Sessions,
}

/// The service's routes; it asks the model server at `model`, with those connections counted in `calls`.
pub fn router(model: SocketAddr, calls: Arc<Ledger>) -> Router {
    let service = Arc::new(Service { model, calls, sessions: Sessions::default() });
    Router::new()
        .route("/", get(front))
        .route("/chat/{id}", get(chat_page))
        .route("/health", get(|| async { "ok\n" }))
        .route("/api/sessions", get(sessions))
        .route("/api/messages/{id}", get(messages))
        .route("/api/chat", post(answer))
        .route("/api/upload", post(upload))
        .route("/ws", get(websocket::upgrade))
        .layer(DefaultBodyLimit::max(UPLOAD_LIMIT))
        .with_state(service)
}

async fn front(State(service): State<Arc<Service>>) -> Html<String> {
    Html(pages::front(&service.sessions))
}

async fn chat_page(
    State(service): State<Arc<Service>>,
    Path(id): Path<u32>,
) -> Result<Html<String>, StatusCode> {
    pages::chat(&service.sessions, id).map(Html).ok_or(StatusCode::NOT_FOUND)
}

async fn sessions(State(service): State<Arc<Service>>) -> Json<Vec<Session>> {
    Json(service.sessions.list())
}

async fn messages(
    State(service): State<Arc<Service>>,
    Path(id): Path<u32>,
) -> Result<Json<Vec<Message>>, StatusCode> {
    service.sessions.messages(id).map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn upload(body: Bytes) -> Json<Value> {
    Json(json!({ "bytes": body.len() }))
}

/// Where the stream of an answer stands. It owns the call to the model: an answer that the user leaves is dropped,
/// and the call with it.
enum Answering {
    Reading { answer: Answer, text: String },
    Done,
}

async fn answer(
    State(service): State<Arc<Service>>,
    Json(question): Json<Question>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, (StatusCode, String)> {
    let session = question.session;
    if !service.sessions.add(session, "user", question.text) {
        return Err((StatusCode::NOT_FOUND, format!("there is no session {session}")));
    }
    let request = Completion {
        model: "mock-1".to_owned(),
        stream: true,
        max_tokens: question.max_tokens,
        pause_after: question.pause_after,
    };
    let answer = Answer::ask(service.model, &service.calls, &request)
        .await
        .map_err(|error| (StatusCode::BAD_GATEWAY, format!("{error:#}")))?;
    let start = Answering::Reading { answer, text: String::new() };
    Ok(Sse::new(unfold(start, move |state| next_event(Arc::clone(&service), session, state))))
}

/// The event for the next token, or for the end.
async fn next_event(
    service: Arc<Service>,
    session: u32,
    state: Answering,
) -> Option<(Result<Event, Infallible>, Answering)> {
    let Answering::Reading { answer, mut text } = state else {
        return None;
    };
    let (event, state) = match answer.token().await {
        Ok(Some((token, answer))) => {
            text.push_str(&token);
            (Event::default().data(token), Answering::Reading { answer, text })
        }
        Ok(None) => {
            service.sessions.add(session, "assistant", text);
            (Event::default().event("done").data("[DONE]"), Answering::Done)
        }
        Err(error) => (Event::default().event("error").data(format!("{error:#}")), Answering::Done),
    };
    Some((Ok(event), state))
}
