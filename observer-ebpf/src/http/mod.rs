//! HTTP/1.x, its streams and WebSockets: where messages begin and end, and when.
//! Transport-independent: fed with bytes and their positions, by packets here and by TLS plaintext later.

pub mod exchange;
