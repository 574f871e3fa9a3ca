//! HTTP/1 in every shape that servers and clients make of it, as dialogs, each on routes of its own.
//! What is beside each is what the metrics are to say of it.

mod ended;
mod framed;
mod ordered;
mod plain;

use super::{
    dialog::{
        Dialog,
        Side::{self, Client},
    },
    ledger::Ledger,
};

/// A dialog and what it is to count as.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What both sides say and do.
    pub dialog: Dialog,
    /// What the metrics are to say of it.
    pub ledger: Ledger,
}

/// All of them.
pub fn all() -> Vec<Shape> {
    [plain::plain(), framed::framed(), ordered::ordered(), ended::ended()].into_iter().flatten().collect()
}

/// An exchange: method, route, status, bytes of both bodies.
type Expected<'e> = (&'e str, &'e str, u16, (u64, u64));

/// Exactly these exchanges.
fn counted(exchanges: &[Expected<'_>], dialog: Dialog) -> Shape {
    let mut ledger = Ledger::default();
    for (method, route, status, (sent, received)) in exchanges {
        ledger.expect(method, route, *status, 1, *sent, *received);
    }
    Shape { dialog, ledger }
}

/// One exchange, after which the client closes.
fn one(expected: Expected<'_>, dialog: Dialog) -> Shape {
    counted(&[expected], dialog.closed_by(Client))
}

/// A side says all of `text`, in pieces of so many bytes.
fn in_pieces(dialog: Dialog, side: Side, text: &str, length: usize) -> Dialog {
    let say = |dialog: Dialog, piece| match side {
        Client => dialog.client(piece),
        Side::Server => dialog.server(piece),
    };
    text.as_bytes().chunks(length).fold(dialog, say)
}
