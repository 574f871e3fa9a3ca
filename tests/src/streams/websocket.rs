//! One WebSocket session that sends messages at fixed times and reads each one back.
//! Some sessions fragment their messages, with a ping between two fragments (RFC 6455, section 5.4).

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::TcpStream,
    select,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error as WebSocketError, Message,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::record::{Kind, Outcome, Record, Recorder};

/// How long the answer to a message, and to the close frame, may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// What a session does.
#[derive(Clone, Debug)]
pub struct Session {
    /// Names the session in both logs.
    pub id: u32,
    /// Its path and route.
    pub path: &'static str,
    /// Messages each way.
    pub messages: u32,
    /// Time from one message to the next; after the last, until the end.
    pub interval: Duration,
    /// Bytes of each message.
    pub size: usize,
    /// Fragments of each message, in both directions.
    pub fragments: usize,
    /// Time between pings of the server; the client pings with each message.
    pub ping: Duration,
    /// The server says goodbye, right after its last message, instead of the client, after the last interval.
    pub server_closes: bool,
}

type Socket = WebSocketStream<TcpStream>;

impl Session {
    /// Plays it against `fixtures/streams.js` to its end.
    pub async fn play(&self, server: SocketAddr) -> Result<Record> {
        let stream =
            TcpStream::connect(server).await.with_context(|| format!("cannot connect to {server}"))?;
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        let goodbye = if self.server_closes { self.messages } else { 0 };
        let Self { id, path, fragments, .. } = self;
        let ping = self.ping.as_millis();
        let url = format!("ws://{server}{path}?id={id}&fragments={fragments}&ping={ping}&goodbye={goodbye}");
        let mut recorder = Recorder::start(*id, Kind::WebSocket, path);
        let (mut socket, answer) = client_async(url, stream).await.context("cannot open a WebSocket")?;
        recorder.headers(answer.status().as_u16());
        let begun = Instant::now();
        for number in 0..self.messages {
            let mut text = format!("{number} ").repeat(self.size);
            text.truncate(self.size);
            self.send(&mut socket, &text).await?;
            recorder.received(text.len());
            let answer = timeout(ANSWERED_WITHIN, next_message(&mut socket)).await;
            let answer = answer.context("no answer")??.context("it ended without an answer")?;
            ensure!(answer == text, "another message came back");
            recorder.event(answer.len());
            let last = number + 1 == self.messages;
            if !(last && self.server_closes) {
                rest_until(&mut socket, begun + self.interval * (number + 1)).await?;
            }
        }
        if !self.server_closes {
            socket.send(Message::Close(None)).await.context("cannot send the close frame")?;
        }
        let end = timeout(ANSWERED_WITHIN, next_message(&mut socket)).await.context("no close")??;
        ensure!(end.is_none(), "a message came instead of the close frame");
        Ok(recorder.end(Outcome::Completed))
    }

    /// One message, in as many frames as wanted, and a ping: between the frames if there are several.
    async fn send(&self, socket: &mut Socket, text: &str) -> Result<()> {
        let part = text.len().div_ceil(self.fragments.max(1)).max(1);
        let parts: Vec<&[u8]> = text.as_bytes().chunks(part).collect();
        for (index, bytes) in parts.iter().enumerate() {
            let opcode = if index == 0 { Data::Text } else { Data::Continue };
            let frame = Frame::message(bytes.to_vec(), OpCode::Data(opcode), index + 1 == parts.len());
            socket.send(Message::Frame(frame)).await.context("cannot send")?;
            if index == 0 {
                socket.send(Message::Ping("alive?".into())).await.context("cannot ping")?;
            }
        }
        Ok(())
    }
}

/// The next message; pings are answered on the way. None where the other side has closed properly.
async fn next_message(socket: &mut Socket) -> Result<Option<String>> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(Some(text.as_str().to_owned())),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => {}
            None | Some(Err(WebSocketError::ConnectionClosed)) => return Ok(None),
            Some(Ok(other)) => bail!("not a text message: {other:?}"),
            Some(Err(error)) => return Err(error).context("cannot receive"),
        }
    }
}

/// Answers pings until then; nothing else may come.
async fn rest_until(socket: &mut Socket, then: Instant) -> Result<()> {
    select! {
        () = sleep_until(then) => Ok(()),
        message = next_message(socket) => bail!("what was not asked for came: {:?}", message?),
    }
}
