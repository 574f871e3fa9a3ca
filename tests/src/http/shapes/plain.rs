//! Messages of known length: long heads and long bodies, answers without a body, odd spelling, odd segments.
//! What is said inside a body must never be taken for a message.

use super::{Shape, counted, in_pieces, one};
use crate::http::dialog::{
    Deed, Dialog,
    Side::{Client, Server},
};

/// 100 MB.
const UPLOAD: u64 = 100_000_000;

/// What is answered in most cases.
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// All of this kind.
pub(super) fn plain() -> Vec<Shape> {
    let upload = format!("PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {UPLOAD}\r\n\r\n");
    let cookie = "a".repeat(1000);
    let cookies = format!("Cookie: c={cookie}\r\n").repeat(64);
    let many = format!("GET /cookies HTTP/1.1\r\nHost: x\r\n{cookies}\r\n");
    let large_head = format!(
        "HTTP/1.1 200 OK\r\n{}Content-Length: 5\r\n\r\nhello",
        cookies.replace("Cookie", "Set-Cookie")
    );
    vec![
        one(("PUT", "/upload", 201, (UPLOAD, 2)), {
            let upload = Dialog::default().client(upload).act(Client, Deed::Fill(UPLOAD));
            upload.server("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
        }),
        // No segment holds both the head's begin and its end.
        one(("GET", "/cookies", 200, (0, 5)), in_pieces(Dialog::default(), Client, &many, 10_000).server(OK)),
        one(("GET", "/cookies-back", 200, (0, 5)), {
            Dialog::default().client("GET /cookies-back HTTP/1.1\r\nHost: x\r\n\r\n").server(large_head)
        }),
        one(("GET", "/too-many-cookies", 431, (0, 0)), {
            let dialog = Dialog::default().client(many.replace("/cookies", "/too-many-cookies"));
            dialog.server("HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\n\r\n")
        }),
        one(("HEAD", "/head", 200, (0, 0)), {
            Dialog::default()
                .client("HEAD /head HTTP/1.1\r\nHost: x\r\n\r\n")
                .server("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        }),
        one(("DELETE", "/no-content", 204, (0, 0)), {
            Dialog::default()
                .client("DELETE /no-content HTTP/1.1\r\nHost: x\r\n\r\n")
                .server("HTTP/1.1 204 No Content\r\n\r\n")
        }),
        one(("GET", "/not-modified", 304, (0, 0)), {
            let dialog = Dialog::default()
                .client("GET /not-modified HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"a\"\r\n\r\n");
            dialog.server("HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\nETag: \"a\"\r\n\r\n")
        }),
        one(("POST", "/bare-feeds", 200, (3, 5)), {
            let dialog =
                Dialog::default().client("POST /bare-feeds HTTP/1.1\nHost: x\nContent-Length: 3\n\nabc");
            dialog.server("HTTP/1.1 200 OK\nContent-Length: 5\n\nhello")
        }),
        one(("POST", "/odd-case", 200, (3, 5)), {
            let dialog = Dialog::default()
                .client("POST /odd-case HTTP/1.1\r\nhOsT: x\r\ncOnTeNt-LeNgTh: 3\r\n\r\nabc");
            dialog.server("HTTP/1.1 200 OK\r\nCONTENT-LENGTH:5\r\ncontent-TYPE:\ttext/plain\r\n\r\nhello")
        }),
        one(("POST", "/folded", 200, (3, 5)), {
            let folded = "X-Long: one\r\n two: Content-Length: 9\r\n\tContent-Length: 8\r\n";
            let dialog = Dialog::default()
                .client(format!("POST /folded HTTP/1.1\r\n{folded}Content-Length: 3\r\n\r\nabc"));
            dialog.server(format!("HTTP/1.1 200 OK\r\n{folded}Content-Length: 5\r\n\r\nhello"))
        }),
        one(("POST", "/byte-by-byte", 200, (3, 5)), {
            let asked = "POST /byte-by-byte HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
            in_pieces(in_pieces(Dialog::default(), Client, asked, 1), Server, OK, 1)
        }),
        // Two requests of one connection: what was said before must not be taken for a part of what comes after.
        counted(
            &[("POST", "/first", 200, (10, 5)), ("GET", "/second", 200, (0, 5))],
            Dialog::default()
                .client("POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nGET /no HT")
                .server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/")
                .client("GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
                .server(OK)
                .closed_by(Server),
        ),
    ]
}
