//! Exchanges that do not come to their end, by the doing of either side.
//! Without a head of an answer the status is 499 where the client left, and 000 where the server did.

use super::{Shape, counted};
use crate::http::dialog::{
    Deed, Dialog,
    Side::{Client, Server},
};

/// All of this kind.
pub(super) fn ended() -> Vec<Shape> {
    let asked = |path: &str| Dialog::default().client(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello";
    vec![
        counted(&[("GET", "/left", 499, (0, 0))], asked("/left").closed_by(Client)),
        counted(&[("GET", "/left-by-reset", 499, (0, 0))], asked("/left-by-reset").act(Client, Deed::Reset)),
        counted(
            &[("POST", "/left-in-upload", 499, (100, 0))],
            Dialog::default()
                .client("POST /left-in-upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
                .act(Client, Deed::Fill(100))
                .closed_by(Client),
        ),
        counted(&[("GET", "/unanswered", 0, (0, 0))], asked("/unanswered").closed_by(Server)),
        counted(
            &[("GET", "/unanswered-by-reset", 0, (0, 0))],
            asked("/unanswered-by-reset").act(Server, Deed::Reset),
        ),
        counted(&[("GET", "/cut-off", 200, (0, 5))], asked("/cut-off").server(begun).closed_by(Server)),
        counted(&[("GET", "/given-up", 200, (0, 5))], asked("/given-up").server(begun).closed_by(Client)),
    ]
}
