//! Connections of several paths (RFC 8684): bytes of one exchange pass on different subflows, each with numbers of its own.
//! None is counted by guess: each path is said to be given up.

use anyhow::{Context as _, Result, ensure};
use tests::{
    corners::{
        actor::Manner,
        case::{Case, Role},
        expected::Expected,
        room::Room,
        stage::{Place, Stage},
    },
    http::dialog::{
        Deed, Dialog,
        Side::{Client, Server},
    },
    metrics::Metrics,
    process::PATIENCE,
};

/// Exchanges on a connection, with bodies that are worth several paths.
const EXCHANGES: u64 = 10;
const BYTES: u64 = 400_000;

/// Three more addresses on loopback, and a path from each.
const PATHS: &str = "ip mptcp limits set subflow 3 add_addr_accepted 3
    for last in 2 3 4; do
        ip address add 10.79.0.$last/32 dev lo
        ip mptcp endpoint add 10.79.0.$last dev lo subflow
    done";

fn exchanges(role: Role) -> Case {
    let route = format!("/{}-paths", role.word());
    let mut dialog = Dialog::default();
    for _ in 0..EXCHANGES {
        dialog = dialog
            .client(format!("POST {route} HTTP/1.1\r\nHost: corner\r\nContent-Length: {BYTES}\r\n\r\n"))
            .act(Client, Deed::Fill(BYTES))
            .server(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"))
            .act(Server, Deed::Fill(BYTES));
    }
    role.case(route, dialog.closed_by(Client), Expected::nothing())
}

#[test]
fn connections_of_several_paths_are_left_alone_and_said_to_be() -> Result<()> {
    let room = Room::create()?;
    if let Err(error) = room.run(PATHS) {
        println!("left out: this kernel has no MPTCP, or `ip` does not know it: {error:#}");
        return Ok(());
    }
    let stage = Stage::at(Place::Room(room))?;
    let expected = stage.play(Role::BOTH.map(exchanges).to_vec(), Manner::Multipath)?;
    let room = stage.place().target().context("the stage has a room")?;
    let joined = room.run("awk '/^MPTcpExt/ { if (n++) for (i in name) { if (name[i] == \"MPJoinAckRx\") print $i } else split($0, name) }' /proc/net/netstat")?;
    ensure!(joined.trim().parse::<u32>()? >= 2, "{} more paths were joined", joined.trim());
    stage.expect(expected)?;
    // Of each path one end is the target's, and of the first connection both are.
    let given_up =
        |metrics: &Metrics| metrics.count("observer_connections_given_up_total", &[("reason", "multipath")]);
    let metrics = stage.agent().scrape_until(PATIENCE, |metrics| given_up(metrics) >= 4)?;
    let counted =
        metrics.count("chat_http_requests_total", &[]) + metrics.count("chat_upstream_requests_total", &[]);
    ensure!(counted == 0, "{counted} exchanges are counted of connections that nobody can follow");
    stage.end()
}
