//! Which protocol a connection speaks: told by the first bytes of each side, and the port where they do not suffice.
//! Keeps no state of any protocol; what is undecided is a few bytes of the connection itself.

use crate::http1::{
    names::{self, METHODS},
    words::{TEXT_BYTES, TOPS, Text, first, matches},
};

/// The first bytes that are looked at.
pub const START: usize = TEXT_BYTES;

/// Tells what the first bytes of a connection's client say it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// There are too few of them.
    Undecided = 0,
    /// HTTP/1.x (RFC 9112).
    Http1 = 1,
    /// TLS records (RFC 8446 section 5.1).
    Tls = 2,
    /// Redis' protocol, RESP or inline commands on its port.
    Redis = 3,
    /// The protocol of `PostgreSQL`, version 3, or its request for TLS.
    Postgresql = 4,
    /// DNS over TCP (RFC 1035 section 4.2.2).
    Dns = 5,
    /// HTTP/2 with prior knowledge (RFC 9113 section 3.4).
    Http2 = 6,
    /// A line of `HAProxy`'s PROXY protocol, version 1; what it carries begins behind it.
    ProxyLine = 7,
    /// A header of `HAProxy`'s PROXY protocol, version 2; what it carries begins behind it.
    ProxyHeader = 8,
    /// None that is known here.
    Unknown = 9,
}

/// `CRLF CRLF NUL CRLF "QUIT" LF`, of `HAProxy`'s proxy-protocol.txt, section 2.2.
const PROXY_SIGNATURE: [u64; 2] =
    [u64::from_le_bytes(*b"\r\n\r\n\0\r\nQ"), u64::from_le_bytes(*b"UIT\n\0\0\0\0")];
/// Bytes of the signature.
const PROXY_SIGNATURE_BYTES: u32 = 12;
/// Bytes of a header of version 2 before the addresses.
pub const PROXY_HEADER_BYTES: u32 = 16;
/// The longest line of version 1, its line break included (section 2.1).
pub const PROXY_LINE_BYTES: u32 = 107;

const PROXY_LINE: Text = Text::new("PROXY ");
const PREFACE: Text = Text::new("PRI * HTTP/2.0\r\n");
/// The port of Redis, where a client may send inline commands.
const REDIS_PORT: u16 = 6379;
/// The port of DNS.
const DNS_PORT: u16 = 53;
/// Letters of the longest method that is looked for.
const METHOD_BYTES: u32 = 20;

/// Tells the protocol by the first `available` bytes of the client, [`START`] at the most, which are `start` with zeros
/// behind; `port` is the server's.
#[inline(always)]
pub fn client(start: [u64; START / 8], available: u32, port: u16) -> Verdict {
    if available == 0 {
        return Verdict::Undecided;
    }
    let first = (start[0] & 0xff) as u8;
    if first == 22 {
        return tls(start[0], available);
    }
    if first == b'*' || (port == REDIS_PORT && first.is_ascii_alphabetic()) {
        return redis(start[0], available, port);
    }
    if first == b'\r' || first == b'\n' {
        return blank_line(start, available);
    }
    if first.is_ascii_uppercase() {
        return method(start, available);
    }
    if first == 0 {
        let verdict = postgresql(start[0], available);
        if port != DNS_PORT || !matches!(verdict, Verdict::Unknown) {
            return verdict;
        }
    }
    if port == DNS_PORT { dns(start, available) } else { Verdict::Unknown }
}

/// Tells whether the server's bytes are those of HTTP/1.x, or may be.
#[inline(always)]
pub fn server_speaks_http(start: [u64; START / 8], available: u32) -> bool {
    const VERSION: u64 = u64::from_le_bytes(*b"HTTP/1.\0");
    let mask = if available >= 7 { (1 << 56) - 1 } else { (1_u64 << (available * 8)) - 1 };
    (start[0] ^ VERSION) & mask == 0
}

/// Tells whether the server's bytes may be a chunk's size and its line break, as in the middle of a stream.
#[inline(always)]
pub fn server_streams(start: [u64; START / 8], available: u32) -> bool {
    let first = (start[0] & 0xff) as u8;
    available >= 3 && first.is_ascii_hexdigit() && matches(start[0], b'\n') != 0
}

/// A record of a handshake, of SSL 3.0 at least, with a `ClientHello` in it.
#[inline(always)]
const fn tls(start: u64, available: u32) -> Verdict {
    if available < 3 {
        return Verdict::Undecided;
    }
    let (major, minor) = (start >> 8 & 0xff, start >> 16 & 0xff);
    if major == 3 && minor <= 4 { Verdict::Tls } else { Verdict::Unknown }
}

/// An array of bulk strings, `*3\r\n$3…`; on the port of Redis inline commands too.
#[inline(always)]
const fn redis(start: u64, available: u32, port: u16) -> Verdict {
    if start & 0xff != b'*' as u64 {
        return if port == REDIS_PORT { Verdict::Redis } else { Verdict::Unknown };
    }
    if available < 2 {
        return Verdict::Undecided;
    }
    let digit = (start >> 8 & 0xff) as u8;
    if digit.is_ascii_digit() { Verdict::Redis } else { Verdict::Unknown }
}

/// A startup message, or a request for TLS or GSSAPI or to cancel: its length, then what it is (protocol-message-formats
/// of `PostgreSQL`).
#[inline(always)]
const fn postgresql(start: u64, available: u32) -> Verdict {
    const VERSION_3: u32 = 0x0003;
    const REQUEST: u32 = 1234;
    const LONGEST: u32 = 10_000;
    if available < 8 {
        return Verdict::Undecided;
    }
    let length = (start as u32).swap_bytes();
    let code = ((start >> 32) as u32).swap_bytes();
    let known =
        code >> 16 == VERSION_3 || (code >> 16 == REQUEST && code & 0xffff >= 5678 && code & 0xffff <= 5680);
    if length >= 8 && length <= LONGEST && known { Verdict::Postgresql } else { Verdict::Unknown }
}

/// A query: its length, its number, no flag but recursion, one question.
#[inline(always)]
const fn dns(start: [u64; START / 8], available: u32) -> Verdict {
    if available < 8 {
        return Verdict::Undecided;
    }
    let length = (start[0] as u16).swap_bytes();
    let is_query = start[0] >> 32 & 0xf8 == 0;
    let questions = (start[0] >> 48) as u16;
    if length >= 17 && is_query && questions.swap_bytes() == 1 { Verdict::Dns } else { Verdict::Unknown }
}

/// Line breaks, which HTTP ignores before a request (RFC 9112 section 2.2), or the signature of PROXY's version 2.
#[inline(always)]
fn blank_line(start: [u64; START / 8], available: u32) -> Verdict {
    let mask = |bytes: u32| if bytes >= 8 { u64::MAX } else { (1_u64 << (bytes * 8)) - 1 };
    let head = if available < 8 { available } else { 8 };
    let rest = available.saturating_sub(8);
    let rest = if rest > PROXY_SIGNATURE_BYTES - 8 { PROXY_SIGNATURE_BYTES - 8 } else { rest };
    let is_proxy = (start[0] ^ PROXY_SIGNATURE[0]) & mask(head) == 0
        && (start[1] ^ PROXY_SIGNATURE[1]) & mask(rest) == 0;
    if is_proxy {
        return if available >= PROXY_HEADER_BYTES { Verdict::ProxyHeader } else { Verdict::Undecided };
    }
    let breaks = matches(start[0], b'\r') | matches(start[0], b'\n');
    let others = !breaks & TOPS;
    if others == 0 {
        // Nothing else in eight bytes: more than any client sends.
        return if available >= 8 { Verdict::Unknown } else { Verdict::Undecided };
    }
    let skipped = first(others);
    if skipped >= available {
        return Verdict::Undecided;
    }
    let shift = skipped * 8;
    let moved = [
        start[0] >> shift | start[1] << (64 - shift),
        start[1] >> shift | start[2] << (64 - shift),
        start[2] >> shift,
    ];
    if ((moved[0] & 0xff) as u8).is_ascii_uppercase() {
        method(moved, available - skipped)
    } else {
        Verdict::Unknown
    }
}

/// A method, a space, and what a target may begin with (RFC 9112 section 3.2).
#[inline(always)]
fn method(start: [u64; START / 8], available: u32) -> Verdict {
    if PROXY_LINE.begins_exactly(start) {
        return Verdict::ProxyLine;
    }
    if PREFACE.begins_exactly(start) {
        return Verdict::Http2;
    }
    let mut index = 0;
    while index < METHOD_BYTES {
        if index >= available {
            return Verdict::Undecided;
        }
        let byte = byte_of(start, index);
        if byte == b' ' {
            return target(start, index + 1, available);
        }
        if !byte.is_ascii_uppercase() && byte != b'-' && byte != b'_' {
            return Verdict::Unknown;
        }
        index += 1;
    }
    Verdict::Unknown
}

#[inline(always)]
fn target(start: [u64; START / 8], at: u32, available: u32) -> Verdict {
    if METHODS[names::CONNECT as usize].begins_exactly(start) {
        return Verdict::Http1;
    }
    if at >= available {
        return Verdict::Undecided;
    }
    let byte = byte_of(start, at);
    // "PRI * HTTP/2.0" may not be complete yet.
    let preface = start[0] & 0xff_ffff == 0x0049_5250;
    if preface && available < START as u32 {
        return Verdict::Undecided;
    }
    if byte == b'/' || byte == b'*' || byte | 0x20 == b'h' { Verdict::Http1 } else { Verdict::Unknown }
}

/// One of the first bytes; `index` is below [`START`].
#[inline(always)]
const fn byte_of(start: [u64; START / 8], index: u32) -> u8 {
    let word = if index < 8 {
        start[0]
    } else if index < 16 {
        start[1]
    } else {
        start[2]
    };
    (word >> ((index & 7) * 8)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(bytes: &[u8]) -> [u64; START / 8] {
        let mut start = [0; START];
        let length = bytes.len().min(START);
        start[..length].copy_from_slice(&bytes[..length]);
        core::array::from_fn(|index| u64::from_le_bytes(start[index * 8..index * 8 + 8].try_into().unwrap()))
    }

    fn of(bytes: &[u8], port: u16) -> Verdict {
        client(words(bytes), bytes.len().min(START) as u32, port)
    }

    #[test]
    fn each_protocol_is_told_by_its_first_bytes() {
        for (bytes, port, verdict) in [
            (b"GET / HTTP/1.1\r\n".as_slice(), 80, Verdict::Http1),
            (b"OPTIONS * HTTP/1.1\r\n", 80, Verdict::Http1),
            (b"CONNECT example.com:443 HTTP/1.1", 80, Verdict::Http1),
            (b"PROPFIND /dav HTTP/1.1", 80, Verdict::Http1),
            (b"M-SEARCH * HTTP/1.1", 80, Verdict::Http1),
            (b"GET http://example.com/ HTTP/1.1", 80, Verdict::Http1),
            (b"\r\nPOST /api HTTP/1.1", 80, Verdict::Http1),
            (b"\x16\x03\x01\x02\x00\x01\x00", 443, Verdict::Tls),
            (b"*1\r\n$4\r\nPING\r\n", 6379, Verdict::Redis),
            (b"*3\r\n$3\r\nSET\r\n", 7000, Verdict::Redis),
            (b"PING\r\n", 6379, Verdict::Redis),
            (b"get key\r\n", 6379, Verdict::Redis),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", 5432, Verdict::Postgresql),
            (b"\0\0\0\x29\0\x03\0\0user\0me\0", 15432, Verdict::Postgresql),
            (b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0", 53, Verdict::Dns),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 80, Verdict::Http2),
            (b"PROXY TCP4 127.0.0.1 127.0.0.1 4 80\r\n", 80, Verdict::ProxyLine),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0cabcd", 80, Verdict::ProxyHeader),
            (b"EHLO example.com\r\n", 25, Verdict::Unknown),
            (b"SSH-2.0-OpenSSH_9.2\r\n", 22, Verdict::Unknown),
            (b"GET key\r\n", 11211, Verdict::Unknown),
            (b"get key\r\n", 11211, Verdict::Unknown),
            (b"\xff\xfe\xfd", 80, Verdict::Unknown),
            (b"\0\0\0\x29\0\x02\0\0user", 5432, Verdict::Unknown),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAA", 80, Verdict::Unknown),
            (b"\r\n\r\n\r\n\r\n\r\n", 80, Verdict::Unknown),
        ] {
            assert_eq!(of(bytes, port), verdict, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn fewer_bytes_are_undecided_and_never_decided_otherwise() {
        for (bytes, port) in [
            (b"GET / HTTP/1.1\r\n".as_slice(), 80),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 80),
            (b"PROXY TCP4 127.0.0.1 127.0.0.1 4 80\r\n", 80),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0cabcd", 80),
            (b"\r\nPOST /api HTTP/1.1", 80),
            (b"\x16\x03\x01\x02\x00", 443),
            (b"*1\r\n$4\r\nPING\r\n", 6379),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", 5432),
            (b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0", 53),
            (b"PROPFIND /dav HTTP/1.1", 80),
            (b"CONNECT example.com:443", 80),
        ] {
            let whole = of(bytes, port);
            for length in 1..bytes.len() {
                let verdict = of(&bytes[..length], port);
                assert!(
                    verdict == whole || verdict == Verdict::Undecided,
                    "{length} of {:?}: {verdict:?}",
                    bytes.escape_ascii().to_string()
                );
            }
        }
    }

    #[test]
    fn a_server_that_speaks_first_is_told_by_its_version() {
        assert!(server_speaks_http(words(b"HTTP/1.1 408 Request Timeout\r\n"), 24));
        assert!(server_speaks_http(words(b"HTT"), 3));
        assert!(!server_speaks_http(words(b"SSH-2.0-OpenSSH_9.2\r\n"), 21));
        assert!(!server_speaks_http(words(b"HTTP/2.0 "), 9));
    }
}
