//! Traffic whose every connection is known: `fixtures/server.js` is the target and does what clients tell it to.
//! Ends of connections are told apart by who did what in which order, and bytes by what both ends have confirmed.

pub mod client;
pub mod preexisting;
pub mod random;
pub mod server;
pub mod sink;
pub mod target;
pub mod truth;

use std::{io, os::fd::AsFd, path::PathBuf};

use rustix::net::sockopt;

/// The Node.js server that the clients talk to: `node server.js HOST PORT`.
pub fn server_script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/server.js")
}

/// Probes the other side each second, so that a reset which was lost on the way is noticed all the same.
fn keep_alive(socket: impl AsFd) -> io::Result<()> {
    const PROBED_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, PROBED_EVERY)?;
    Ok(sockopt::set_tcp_keepintvl(&socket, PROBED_EVERY)?)
}
