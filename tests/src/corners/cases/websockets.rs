//! Bursts of WebSocket messages: thousands in one segment, from either side, and thirty more behind them.
//! A server's message of one byte takes three, so that a segment of 64 KiB holds twenty thousand.

use super::floods::warm;
use crate::{
    corners::{
        case::{Case, Role},
        expected::Expected,
        said::{UPGRADED, answered, get, goodbye, messages, upgrade},
    },
    http::dialog::{
        Dialog,
        Side::{self, Client, Server},
    },
};

/// Messages that come one by one behind a burst.
const MORE: u64 = 30;

/// Bursts: a word, messages from the server at once, messages from the client at once.
const BURSTS: [(&str, u64, u64); 7] = [
    ("hundreds-sent", 800, 0),
    ("thousands-sent", 3000, 0),
    ("most-sent", 20_000, 0),
    ("hundreds-received", 0, 800),
    ("thousands-received", 0, 3000),
    ("most-received", 0, 9000),
    ("both", 3000, 3000),
];

/// The target as the server of all bursts, and as the client of some.
pub fn all() -> Vec<Case> {
    let served = BURSTS.iter().map(|(word, sent, received)| burst(Role::Server, word, *sent, *received));
    let called = BURSTS.iter().map(|(word, sent, received)| burst(Role::Client, word, *received, *sent));
    served.chain(called).chain([pings(), refused()]).collect()
}

fn says(dialog: Dialog, side: Side, bytes: Vec<u8>) -> Dialog {
    if bytes.is_empty() {
        return dialog;
    }
    match side {
        Client => dialog.client(bytes),
        Server => dialog.server(bytes),
    }
}

fn count(messages: u64) -> usize {
    usize::try_from(messages).unwrap_or(usize::MAX)
}

/// `sent` messages at once from the server, and `received` from the client.
fn burst(role: Role, word: &str, sent: u64, received: u64) -> Case {
    let route = format!("/{}-{word}", role.word());
    let (warming, warm) = warm(role);
    let dialog = warming.client(upgrade(&route)).server(UPGRADED);
    let dialog = says(dialog, Server, messages(count(sent), 1, false));
    let dialog = says(dialog, Client, messages(count(received), 1, true));
    let dialog = (0..MORE)
        .fold(dialog, |dialog, _| dialog.client(messages(1, 20, true)).server(messages(1, 10, false)));
    let dialog = dialog.client(goodbye(true)).server(goodbye(false)).closed_by(Server);
    let expected = match role {
        Role::Server => Expected::nothing()
            .streams("websocket", &route, 101, "completed", 1)
            .messages("websocket", &route, sent + MORE, received + MORE)
            .stream_bytes("websocket", &route, sent + MORE * 10, received + MORE * 20),
        Role::Client => Expected::nothing().requests(role, "GET", &route, 101, 1),
    };
    role.case(route, dialog, warm.and(expected))
}

/// Pings and pongs are no messages, however many there are.
fn pings() -> Case {
    let route = "/flood-of-pings";
    let dialog = Dialog::default()
        .client(upgrade(route))
        .server(UPGRADED)
        .server([0x89, 0].repeat(3000))
        .client([0x8a, 0x80, 0, 0, 0, 0].repeat(3000))
        .server(messages(2, 4, false))
        .client(goodbye(true))
        .server(goodbye(false))
        .closed_by(Client);
    let expected = Expected::nothing()
        .streams("websocket", route, 101, "completed", 1)
        .messages("websocket", route, 2, 0)
        .stream_bytes("websocket", route, 8, 0);
    Case::served(route, dialog, expected)
}

/// Where the upgrade is refused, the connection goes on as HTTP.
fn refused() -> Case {
    let route = "/refused-upgrade";
    let dialog = Dialog::default()
        .client(upgrade(route))
        .server(answered(403, 2))
        .client(get("/after-refused-upgrade"))
        .server(answered(200, 2))
        .closed_by(Client);
    let expected = Expected::nothing().requests(Role::Server, "GET", route, 403, 1).requests(
        Role::Server,
        "GET",
        "/after-refused-upgrade",
        200,
        1,
    );
    Case::served(route, dialog, expected)
}
