//! How much of the targets' traffic was understood: payload bytes by what the kernel half took them for.
//! One per-CPU cell per protocol; `observer_l7_bytes_total` shows their sums.

/// What a payload byte was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Protocol {
    /// HTTP/1.x, heads and bodies and framing.
    Http = 0,
    /// A connection after it became a WebSocket (RFC 6455).
    WebSocket = 1,
    /// TLS records.
    Tls = 2,
    /// Redis' protocol (RESP).
    Redis = 3,
    /// The protocol of `PostgreSQL`, version 3.
    Postgresql = 4,
    /// DNS messages.
    Dns = 5,
    /// What no framer knows, or lost its place in.
    Unknown = 6,
}

/// Every protocol's label value, by its cell.
pub const PROTOCOLS: [&str; 7] = ["http", "websocket", "tls", "redis", "postgresql", "dns", "unknown"];

/// How many cells the array of bytes has.
pub const CELLS: u32 = PROTOCOLS.len() as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_stands_in_its_own_cell() {
        assert_eq!(PROTOCOLS[Protocol::Http as usize], "http");
        assert_eq!(PROTOCOLS[Protocol::Postgresql as usize], "postgresql");
        assert_eq!(PROTOCOLS[Protocol::Unknown as usize], "unknown");
        assert_eq!(Protocol::Unknown as u32 + 1, CELLS);
    }
}
