//! What is said on connections, as bytes: heads, floods of chunks, frames of WebSockets.
//! RFC 9112 section 7.1, RFC 6455 section 5.2.

/// A request without a body.
pub fn asked(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: corner\r\n\r\n")
}

/// A GET.
pub fn get(path: &str) -> String {
    asked("GET", path)
}

/// A request with this field and body.
pub fn posted(path: &str, fields: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: corner\r\n{fields}\r\n{body}")
}

/// An answer with a body of `length` bytes.
pub fn answered(status: u16, length: usize) -> String {
    format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n\r\n{}", "y".repeat(length))
}

/// A body of so many chunks of one byte, with its end.
pub fn flood(chunks: usize) -> String {
    format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(chunks))
}

/// The head of a chunked answer.
pub const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The head of a stream of events, in chunks.
pub const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A chunk.
pub fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// The last chunk.
pub const LAST: &str = "0\r\n\r\n";

/// A request for a WebSocket.
pub fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: corner\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Its answer.
pub const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// So many text messages of `length` bytes (up to 125), from a client or from a server.
pub fn messages(count: usize, length: u8, from_client: bool) -> Vec<u8> {
    frame(0x81, length, from_client).repeat(count)
}

/// The frame that says goodbye.
pub fn goodbye(from_client: bool) -> Vec<u8> {
    frame(0x88, 0, from_client)
}

/// A frame with this first byte; a client's is masked, with a mask that changes nothing.
fn frame(first: u8, length: u8, from_client: bool) -> Vec<u8> {
    let mut frame = vec![first, length | if from_client { 0x80 } else { 0 }];
    if from_client {
        frame.extend([0; 4]);
    }
    frame.resize(frame.len() + usize::from(length), b'm');
    frame
}
