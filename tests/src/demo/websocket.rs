//! The service's WebSocket: sends back what it gets, and says goodbye first where it is asked to.
//! It reads the other side's close frame before it closes, since a close with unread data is a reset.

use axum::{
    extract::{
        WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response,
};

/// The text after which the service closes the WebSocket.
pub const GOODBYE: &str = "goodbye";

/// Turns the request into a WebSocket.
pub(super) async fn upgrade(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(serve)
}

async fn serve(mut socket: WebSocket) {
    // A receive after the close frame sends the answer to it and ends the loop; so does an error, with nothing to
    // answer.
    while let Some(Ok(message)) = socket.recv().await {
        let reply = match message {
            Message::Text(text) if text.as_str() == GOODBYE => Message::Close(None),
            Message::Text(_) | Message::Binary(_) => message,
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => continue,
        };
        if socket.send(reply).await.is_err() {
            return;
        }
    }
}
