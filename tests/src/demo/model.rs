//! The mock model server: an OpenAI-style chat completion that streams made-up tokens.
//! Runs outside the observed cgroup and counts the calls it gets. Format: OpenAI API reference, streaming.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json, Router,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
    routing::post,
};
use futures_util::stream::{Stream, unfold};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::sleep;

/// Time between two tokens.
const TOKEN_EVERY: Duration = Duration::from_millis(8);

/// How long a pause lasts, unless the caller goes away: longer than any test waits.
const PAUSE: Duration = Duration::from_mins(2);

/// The words that answers are made of.
const WORDS: [&str; 8] = ["the ", "model ", "says ", "what ", "models ", "say: ", "nothing ", "new. "];

/// What a caller may ask for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Completion {
    /// Named in the answer.
    pub model: String,
    /// Only streams are served; kept because callers send it.
    pub stream: bool,
    /// How many tokens to answer.
    pub max_tokens: u32,
    /// After this many tokens, fall silent: lets a caller leave a stream at a known byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_after: Option<u32>,
}

/// The server's routes.
pub fn router() -> Router {
    Router::new().route("/v1/chat/completions", post(complete))
}

async fn complete(Json(request): Json<Completion>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = unfold((request, 0), |(request, sent)| async move {
        if request.pause_after == Some(sent) {
            sleep(PAUSE).await;
        }
        // The event after the last token ends the answer, and there is none after that.
        if sent > request.max_tokens {
            return None;
        }
        if sent == request.max_tokens {
            return Some((Ok(Event::default().data("[DONE]")), (request, sent + 1)));
        }
        sleep(TOKEN_EVERY).await;
        let word = WORDS.iter().cycle().nth(sent as usize % WORDS.len()).copied().unwrap_or_default();
        let token = json!({
            "object": "chat.completion.chunk",
            "model": request.model,
            "choices": [{ "index": 0, "delta": { "content": word } }],
        });
        Some((Ok(Event::default().data(token.to_string())), (request, sent + 1)))
    });
    // A heartbeat would make the bytes of a pause depend on its length.
    Sse::new(events).keep_alive(KeepAlive::new().interval(PAUSE * 2))
}
