//! What is no HTTP, and what looks like it but could be cut apart in two ways: request smuggling (RFC 9112 section 11.2).
//! No request is to be made of any of it.

use super::dialog::{
    Deed, Dialog,
    Side::{Client, Server},
};

/// A whole request on a route of its own.
pub const ASKED: &str = "GET /before HTTP/1.1\r\nHost: x\r\n\r\n";
/// Its answer, with a body of five bytes.
pub const ANSWERED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
/// How servers answer what they do not understand.
const REFUSED: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Dialogs of which not a byte is HTTP, each with the protocol that its bytes count as.
pub fn strangers() -> Vec<(&'static str, Dialog)> {
    // A ClientHello and a ServerHello, then records of application data: RFC 8446 section 5.1.
    let hello = |kind: u8, length: u8| {
        let mut record = vec![22, 3, 1, 0, length, kind, 0, 0, length - 4, 3, 3];
        record.resize(usize::from(length) + 5, 0x5a);
        record
    };
    let data = |length: u8| [&[23, 3, 3, 0, length][..], &vec![0xa7; usize::from(length)]].concat();
    let tls = Dialog::default().client(hello(1, 200)).server(hello(2, 120));
    let tls = tls.client(data(100)).server(data(250)).client(data(40)).closed_by(Client);
    // RFC 9113 section 3.4: the preface, then empty SETTINGS of both sides and an acknowledgement.
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    let http2 = Dialog::default().client(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").client(settings);
    let http2 = http2.server(settings).server(b"\0\0\0\x04\x01\0\0\0\0").closed_by(Client);
    let mut random = fastrand::Rng::with_seed(11);
    let mut noise = |length: usize| -> Vec<u8> {
        // Above ASCII, so that it is no method, no version and no TLS by chance.
        (0..length).map(|_| random.u8(128..)).collect()
    };
    let noise = Dialog::default().client(noise(5000)).server(noise(3000)).client(noise(1)).closed_by(Server);
    let redis = Dialog::default().client("PING-PONG\r\n").server("+PONG\r\n").closed_by(Client);
    let greeting =
        Dialog::default().server("220 mail.example ESMTP\r\n").client("QUIT\r\n").closed_by(Server);
    vec![("tls", tls), ("unknown", http2), ("unknown", noise), ("unknown", redis), ("unknown", greeting)]
}

/// Port scans, and clients that never come to a request: nothing is said, or not even a line.
pub fn scans() -> Vec<Dialog> {
    let reset = Dialog::default().act(Client, Deed::Reset);
    let half = || Dialog::default().client("GET /half HT");
    let late = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n";
    vec![
        Dialog::default().closed_by(Client),
        Dialog::default().closed_by(Server),
        reset,
        half().closed_by(Client),
        half().server(late).closed_by(Server),
        Dialog::default().server(late).closed_by(Server),
    ]
}

/// Requests that two readers would cut apart differently, or that have no end.
fn smuggled() -> Vec<String> {
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "Content-Length: 5, 6\r\n\r\nhello!",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: 99999999999999999999\r\n\r\nhello",
        "Transfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\nhello",
        "Content-Length : 5\r\n\r\nhello",
        "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\nhello",
    ]
    .map(|rest| format!("POST /smuggled HTTP/1.1\r\nHost: x\r\n{rest}"))
    .into()
}

/// Requests with a size of a chunk that is none, or without the line break behind it. An answer that ends so has broken off, and is
/// counted.
fn broken() -> Vec<String> {
    ["z\r\nhello", "0x5\r\nhello", "fffffffffffffffff\r\nhello", "5\r\nhelloworld"]
        .map(|body| {
            let head = "POST /smuggled HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
            format!("{head}{body}\r\n0\r\n\r\n")
        })
        .into()
}

/// Each of [`smuggled`] after a whole exchange on the same connection: as a request that is refused, and as an answer; and each of
/// [`broken`] as such a request.
pub fn ambiguous() -> Vec<Dialog> {
    let before = || Dialog::default().client(ASKED).server(ANSWERED);
    let request = |request: String| before().client(request).server(REFUSED);
    let answer = |request: String| {
        let answer = request.replace("POST /smuggled HTTP/1.1\r\nHost: x", "HTTP/1.1 200 OK\r\nDate: x");
        before().client(ASKED.replace("before", "after")).server(answer)
    };
    let dialogs =
        smuggled().into_iter().chain(broken()).map(request).chain(smuggled().into_iter().map(answer));
    dialogs.map(|dialog| dialog.closed_by(Server)).collect()
}
