//! Answers that nobody asked for: a server that ends idle connections with 408 (RFC 9110 section 15.5.9).
//! Nothing is counted of them, and nothing is lost.

use crate::{
    corners::{
        case::{Case, Role},
        expected::Expected,
        said::{answered, get},
    },
    http::dialog::{
        Deed, Dialog,
        Side::{Client, Server},
    },
};

/// What is said to an idle connection.
const LATE: &str = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Both roles, several connections each.
pub fn all() -> Vec<Case> {
    const CONNECTIONS: u64 = 5;
    let mut cases = Vec::new();
    for role in Role::BOTH {
        let word = role.word();
        let after = format!("/{word}-before-late");
        let two = format!("/{word}-before-two");
        let exchange = |route: &str| Dialog::default().client(get(route)).server(answered(200, 5));
        let expected = |route: &str| Expected::nothing().requests(role, "GET", route, 200, CONNECTIONS);
        let body = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n<p>too late</p>";
        let plain = [
            role.case("408 at once", Dialog::default().server(LATE).closed_by(Server), Expected::nothing()),
            role.case(
                "408 until close",
                Dialog::default().server(body).closed_by(Server),
                Expected::nothing(),
            ),
            role.case(
                "408 and a reset",
                Dialog::default().server(LATE).act(Client, Deed::Reset),
                Expected::nothing(),
            ),
            role.case(
                "408 after an exchange",
                exchange(&after).server(LATE).closed_by(Server),
                expected(&after),
            ),
            role.case(
                "408 after two exchanges",
                exchange(&two).then(exchange(&two)).server(LATE).closed_by(Server),
                expected(&two).and(expected(&two)),
            ),
        ];
        cases.extend(plain.map(|case| case.at_once(usize::try_from(CONNECTIONS).unwrap_or_default())));
    }
    cases
}
