//! Streams whose every event is known: `fixtures/streams.js` sends what a request asks for, the drivers here read it.
//! What they saw and when is the truth that the agent's metrics are compared with.

pub mod compare;
pub mod http;
pub mod record;
pub mod requests;
pub mod server;
pub mod table;
pub mod websocket;
