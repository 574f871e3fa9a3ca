//! CONNECT: what passes behind an answer of 2xx is no HTTP (RFC 9110 section 9.3.6), whatever it looks like; behind any
//! other answer the connection goes on.

use crate::{
    corners::{
        case::{Case, Role},
        expected::Expected,
        said::{answered, flood, get},
    },
    http::dialog::{
        Deed, Dialog,
        Side::{Client, Server},
    },
};

/// Both roles.
pub fn all() -> Vec<Case> {
    Role::BOTH.into_iter().flat_map(|role| [tunnel(role), refused(role), upgraded(role)]).collect()
}

/// HTTP passes in the tunnel, in floods too, and is not looked at.
fn tunnel(role: Role) -> Case {
    let dialog = Dialog::default()
        .client("CONNECT tunnel.example:443 HTTP/1.1\r\nHost: tunnel.example:443\r\n\r\n")
        .server("HTTP/1.1 200 Connected\r\n\r\n")
        .client(get("/inside"))
        .server(answered(200, 5))
        .client(get("/inside"))
        .server(flood(2000))
        .act(Client, Deed::Fill(100_000))
        .act(Server, Deed::Fill(100_000))
        .closed_by(Client);
    let expected = Expected::nothing().requests(role, "CONNECT", TUNNEL, 200, 1);
    role.case(format!("{} tunnel", role.word()), dialog, expected)
}

/// How a target that is no path is shown.
const TUNNEL: &str = "{authority}";

/// The connection goes on as HTTP.
fn refused(role: Role) -> Case {
    let route = format!("/{}-behind-tunnel", role.word());
    let dialog = Dialog::default()
        .client("CONNECT tunnel.example:443 HTTP/1.1\r\nHost: tunnel.example:443\r\n\r\n")
        .server(answered(407, 3))
        .client(get(&route))
        .server(answered(200, 5))
        .closed_by(Client);
    let expected =
        Expected::nothing().requests(role, "CONNECT", TUNNEL, 407, 1).requests(role, "GET", &route, 200, 1);
    role.case(route, dialog, expected)
}

/// An upgrade to anything that is no WebSocket is a tunnel too.
fn upgraded(role: Role) -> Case {
    let route = format!("/{}-upgraded", role.word());
    let dialog = Dialog::default()
        .client(format!(
            "GET {route} HTTP/1.1\r\nHost: corner\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"
        ))
        .server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n")
        .client(get("/inside"))
        .server(answered(200, 5))
        .closed_by(Client);
    role.case(route.clone(), dialog, Expected::nothing().requests(role, "GET", &route, 101, 1))
}
