//! What one connection of the load generator does, from opening to its end.
//! Each leaves no doubt about its end: who closed, and that every byte sent before was read.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error as WebSocketError, Message},
};

use super::{
    client::Connection, counted::CountedStream, pages::SESSIONS, service::Question, tally::Ledger, websocket,
};

/// The pages and lists that are asked for.
const PATHS: [&str; 4] = ["/", "/health", "/api/sessions", "/api/messages/3"];

/// A kind of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// Several requests, then the client closes.
    KeepAlive,
    /// One request, after which the service closes.
    OneShot,
    /// Several requests, then the client resets.
    Reset,
    /// A file, then the client closes.
    Upload,
    /// A whole streamed answer, then the client closes.
    Chat,
    /// A streamed answer that the client leaves in the middle.
    ChatAbort,
    /// A streamed answer that the client resets in the middle.
    ChatReset,
    /// Messages both ways, then the client says goodbye; the service closes the connection (RFC 6455, 7.1.1).
    WebSocket,
    /// Messages both ways, then the service says goodbye.
    WebSocketGoodbye,
    /// Messages both ways, then the client is gone without a close frame.
    WebSocketAbort,
}

/// Every scenario with its name in the summary and its share, in parts of the sum.
pub const MIX: [(Scenario, &str, u32); 10] = [
    (Scenario::KeepAlive, "keep_alive", 20),
    (Scenario::OneShot, "one_shot", 20),
    (Scenario::Reset, "reset", 10),
    (Scenario::Upload, "upload", 8),
    (Scenario::Chat, "chat", 16),
    (Scenario::ChatAbort, "chat_abort", 8),
    (Scenario::ChatReset, "chat_reset", 4),
    (Scenario::WebSocket, "websocket", 6),
    (Scenario::WebSocketGoodbye, "websocket_goodbye", 4),
    (Scenario::WebSocketAbort, "websocket_abort", 4),
];

impl Scenario {
    /// One of the mix, with its name.
    pub fn choose(random: &mut Rng) -> (Self, &'static str) {
        let mut ticket = random.u32(..MIX.iter().map(|(_, _, share)| share).sum::<u32>());
        for (scenario, name, share) in MIX {
            if ticket < share {
                return (scenario, name);
            }
            ticket -= share;
        }
        (Self::KeepAlive, "keep_alive")
    }

    /// Plays it against `service` on a connection counted in `ledger`.
    pub async fn play(self, service: SocketAddr, ledger: &Arc<Ledger>, mut random: Rng) -> Result<()> {
        let random = &mut random;
        let mut connection = Connection::open(service, ledger).await?;
        match self {
            Self::KeepAlive => browse(&mut connection, random).await,
            Self::OneShot => {
                connection.exchange("GET", path(random), &["Connection: close"], &[]).await?;
                connection.closed_by_other_side().await
            }
            Self::Reset => {
                browse(&mut connection, random).await?;
                connection.reset_on_close()
            }
            Self::Upload => upload(&mut connection, random).await,
            Self::Chat => chat(&mut connection, random).await,
            Self::ChatAbort => abandoned_chat(&mut connection, random).await,
            Self::ChatReset => {
                abandoned_chat(&mut connection, random).await?;
                connection.reset_on_close()
            }
            Self::WebSocket => {
                let mut socket = talk(connection, random).await?;
                socket.send(Message::Close(None)).await.context("cannot send the close frame")?;
                closed(socket).await
            }
            Self::WebSocketGoodbye => {
                let mut socket = talk(connection, random).await?;
                socket.send(Message::text(websocket::GOODBYE)).await.context("cannot send")?;
                closed(socket).await
            }
            Self::WebSocketAbort => talk(connection, random).await.map(drop),
        }
    }
}

fn path(random: &mut Rng) -> &'static str {
    random.choice(PATHS).unwrap_or("/")
}

async fn browse(connection: &mut Connection, random: &mut Rng) -> Result<()> {
    for _ in 0..random.u32(1..8) {
        connection.exchange("GET", path(random), &[], &[]).await?;
    }
    Ok(())
}

async fn upload(connection: &mut Connection, random: &mut Rng) -> Result<()> {
    let file = vec![b'x'; random.usize(1..300_000)];
    let answer = connection.exchange("POST", "/api/upload", &[], &file).await?;
    let expected = format!("{{\"bytes\":{}}}", file.len());
    if answer != expected.as_bytes() {
        bail!("the service took {} for an upload of {expected}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// Asks a question and checks that the answer is a stream.
async fn ask(
    connection: &mut Connection,
    random: &mut Rng,
    tokens: u32,
    pause_after: Option<u32>,
) -> Result<()> {
    let session = random.u32(..SESSIONS);
    let text = "Why? ".repeat(random.usize(1..50));
    let question = Question { session, text, max_tokens: tokens, pause_after };
    let body = serde_json::to_vec(&question).context("cannot write the question")?;
    connection.send("POST", "/api/chat", &["Content-Type: application/json"], &body).await?;
    let head = connection.head().await?;
    if head.status != 200 {
        bail!("the chat answered {}", head.status);
    }
    Ok(())
}

async fn chat(connection: &mut Connection, random: &mut Rng) -> Result<()> {
    let tokens = random.u32(5..60);
    ask(connection, random, tokens, None).await?;
    let mut events = 0;
    let mut last = String::new();
    while let Some(event) = connection.event().await? {
        events += 1;
        last = event;
    }
    if events != tokens + 1 || last != "[DONE]" {
        bail!("{events} events for {tokens} tokens, the last: {last}");
    }
    Ok(())
}

/// Reads a streamed answer up to where the model falls silent: nothing more comes, so every byte sent is read.
async fn abandoned_chat(connection: &mut Connection, random: &mut Rng) -> Result<()> {
    let pause_after = random.u32(1..20);
    ask(connection, random, pause_after + 20, Some(pause_after)).await?;
    for number in 0..pause_after {
        let event =
            connection.event().await?.with_context(|| format!("the answer ended after {number} events"))?;
        if event == "[DONE]" {
            bail!("the answer was done after {number} events");
        }
    }
    Ok(())
}

/// Opens a WebSocket and exchanges a few messages; every one was answered when this returns.
async fn talk(connection: Connection, random: &mut Rng) -> Result<WebSocketStream<CountedStream>> {
    let stream = connection.into_stream()?;
    let (mut socket, _) =
        client_async("ws://chat.example/ws", stream).await.context("cannot open a WebSocket")?;
    for _ in 0..random.u32(1..10) {
        let message = Message::text("hello ".repeat(random.usize(1..200)));
        socket.send(message.clone()).await.context("cannot send")?;
        let reply = socket.next().await.context("the WebSocket ended")?.context("cannot receive")?;
        if reply != message {
            bail!("the WebSocket did not send back what it got");
        }
    }
    Ok(socket)
}

/// Answers the service's close frame and waits for it to close the connection.
async fn closed(mut socket: WebSocketStream<CountedStream>) -> Result<()> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(_))) => {}
            Some(Ok(other)) => bail!("instead of a close frame came {other:?}"),
            None | Some(Err(WebSocketError::ConnectionClosed)) => break,
            Some(Err(error)) => return Err(error).context("waiting for the WebSocket's end"),
        }
    }
    let rest = socket.get_mut().read(&mut [0; 1]).await.context("waiting for the connection's end")?;
    if rest > 0 {
        bail!("bytes came after the close frame");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_chooses_the_same_and_every_scenario_is_chosen() {
        let choose = || {
            let mut random = Rng::with_seed(7);
            (0..500).map(|_| Scenario::choose(&mut random).0).collect::<Vec<_>>()
        };
        assert_eq!(choose(), choose());
        assert_eq!(choose().into_iter().collect::<BTreeSet<_>>().len(), MIX.len());
    }
}
