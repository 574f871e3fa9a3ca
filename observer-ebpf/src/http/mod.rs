//! HTTP/1.x, its streams and WebSockets: where messages begin and end, and when.
//! Transport-independent: fed with bytes and their positions, by packets here and by TLS plaintext later.

pub mod body;
pub mod end;
pub mod events;
pub mod exchange;
pub mod head;
#[cfg(not(target_arch = "bpf"))]
pub mod host;
pub mod names;
pub mod resync;
pub mod segments;
pub mod state;
pub mod words;

#[cfg(test)]
mod tests;
