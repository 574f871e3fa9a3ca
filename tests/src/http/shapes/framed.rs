//! Bodies whose length is not known ahead: chunks, with all that may stand beside them, and what ends with its
//! connection.
//! Framing: RFC 9112 section 7.1; HTTP/1.0: RFC 1945 section 7.2.2.

use super::{Shape, counted, in_pieces, one};
use crate::http::dialog::{
    Dialog,
    Side::{Client, Server},
};

/// All of this kind.
pub(super) fn framed() -> Vec<Shape> {
    // Extensions behind the sizes, sizes in capitals and with more noughts than needed, and trailers.
    let chunks = concat!(
        "4;name=value\r\nabcd\r\n",
        "01A; quoted=\"a;b\"\r\nabcdefghijklmnopqrstuvwxyz\r\n",
        "000\r\nX-Sum: 17\r\nX-More: a\r\n\r\n"
    );
    let asked = "POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let kept = "HTTP/1.0\r\nConnection: keep-alive\r\n";
    vec![
        one(("POST", "/chunks", 200, (30, 30)), {
            Dialog::default().client(format!("{asked}{chunks}")).server(format!("{answer}{chunks}"))
        }),
        one(("POST", "/chunks-in-pieces", 200, (30, 30)), {
            let asked = asked.replace("/chunks", "/chunks-in-pieces");
            let asked = in_pieces(Dialog::default().client(asked), Client, chunks, 3);
            in_pieces(asked.server(answer), Server, chunks, 5)
        }),
        counted(
            &[("GET", "/until-closed", 200, (0, 11))],
            Dialog::default()
                .client("GET /until-closed HTTP/1.1\r\nHost: x\r\n\r\n")
                .server("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello ")
                .server("again")
                .closed_by(Server),
        ),
        counted(
            &[("GET", "/one-dot-zero", 200, (0, 5))],
            Dialog::default()
                .client("GET /one-dot-zero HTTP/1.0\r\n\r\n")
                .server("HTTP/1.0 200 OK\r\n\r\nhello")
                .closed_by(Server),
        ),
        counted(
            &[("GET", "/one-dot-zero-kept", 200, (0, 5)), ("POST", "/one-dot-zero-kept", 200, (3, 5))],
            Dialog::default()
                .client(format!("GET /one-dot-zero-kept {kept}\r\n"))
                .server("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello")
                .client(format!("POST /one-dot-zero-kept {kept}Content-Length: 3\r\n\r\nabc"))
                .server("HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
                .closed_by(Server),
        ),
    ]
}
