//! TCP Fast Open (RFC 7413): what a client asks is in its SYN, before there is a connection.
//! In a network namespace that allows it without cookies, so that every connection does it.

use anyhow::{Context as _, Result, ensure};
use tests::{
    corners::{
        actor::Manner,
        case::{Case, Role},
        expected::Expected,
        room::Room,
        said::{CHUNKED, LAST, answered, chunk, get, posted},
        stage::{Place, Stage},
    },
    http::dialog::{Dialog, Side::Client},
};

/// For clients and servers, without cookies, for listeners that did not ask for it (Documentation/networking/ip-sysctl).
const ALWAYS: &str = "sysctl -qw net.ipv4.tcp_fastopen=0x607";

fn cases(role: Role) -> Vec<Case> {
    let route = |word: &str| format!("/{}-{word}", role.word());
    let uploaded = |word: &str, bytes: usize| {
        let route = route(word);
        let request = posted(&route, &format!("Content-Length: {bytes}\r\n"), &"x".repeat(bytes));
        let dialog = Dialog::default()
            .client(request)
            .server([CHUNKED, &chunk("hello"), LAST].concat())
            .client(get(&route))
            .server(answered(201, 3))
            .closed_by(Client);
        let expected =
            Expected::nothing().requests(role, "POST", &route, 200, 1).requests(role, "GET", &route, 201, 1);
        role.case(route, dialog, expected)
    };
    let short = route("short");
    let dialog = Dialog::default().client(get(&short)).server(answered(200, 5)).closed_by(Client);
    let expected = Expected::nothing().requests(role, "GET", &short, 200, 10);
    vec![
        role.case(short, dialog, expected).at_once(10),
        uploaded("small-upload", 500),
        uploaded("middle-upload", 5000),
        uploaded("large-upload", 20_000),
    ]
}

#[test]
fn what_is_asked_in_a_syn_counts() -> Result<()> {
    let room = Room::create()?;
    room.run(ALWAYS)?;
    let stage = Stage::at(Place::Room(room))?;
    let cases = Role::BOTH.into_iter().flat_map(cases).collect();
    let expected = stage.play(cases, Manner::FastOpen)?;
    let room = stage.place().target().context("the stage has a room")?;
    let taken = room.run("awk '/^TcpExt/ { if (n++) for (i in name) { if (name[i] == \"TCPFastOpenPassive\") print $i } else split($0, name) }' /proc/net/netstat")?;
    ensure!(taken.trim().parse::<u32>()? >= 26, "data came in {} SYNs only", taken.trim());
    stage.expect(expected)?;
    stage.end()
}
