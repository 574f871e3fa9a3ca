//! Payload that passes twice: `observer_l7_bytes_total` has every byte once, as the connections' own counts have.
//! On wires that double frames or lose them, and under a load of both directions at once.

use anyhow::{Result, anyhow, ensure};
use fastrand::Rng;
use tests::{
    corners::{
        actor::Manner,
        case::{Case, Role},
        expected::Expected,
        link::Link,
        said::{CHUNKED, LAST, UPGRADED, answered, chunk, get, goodbye, messages, upgrade},
        stage::{Place, Stage},
    },
    http::dialog::{
        Act, Deed, Dialog,
        Side::{Client, Server},
    },
};

/// Bytes of a body.
const BYTES: u64 = 100_000;
/// Connections of each kind.
const CONNECTIONS: u64 = 4;

/// Long bodies both ways, by length and in chunks, and a few small ones.
fn case(role: Role) -> Case {
    let route = format!("/{}-once", role.word());
    let upload = Dialog::default()
        .client(format!("POST {route} HTTP/1.1\r\nHost: corner\r\nContent-Length: {BYTES}\r\n\r\n"))
        .act(Client, Deed::Fill(BYTES))
        .server(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"))
        .act(Server, Deed::Fill(BYTES));
    let small = Dialog::default().client(get(&route)).server([CHUNKED, &chunk("hello"), LAST].concat());
    let dialog = (0..5).fold(upload, |dialog, _| dialog.then(small.clone())).closed_by(Client);
    let expected = Expected::nothing()
        .requests(role, "POST", &route, 200, CONNECTIONS)
        .requests(role, "GET", &route, 200, 5 * CONNECTIONS)
        .l7_bytes(&["http"], CONNECTIONS * dialog.bytes());
    role.case(route, dialog, expected).at_once(usize::try_from(CONNECTIONS).unwrap_or_default())
}

/// Plays both roles on such a wire.
fn on(what: &str) -> Result<()> {
    let stage = Stage::at(Place::Link(Link::create(what, 1500)?.into()))?;
    let expected = stage.play(Role::BOTH.map(case).to_vec(), Manner::Usual)?;
    let Place::Link(link) = stage.place() else { return Err(anyhow!("the stage has a wire")) };
    ensure!(link.done() > 50, "only {} frames were disturbed", link.done());
    stage.expect(expected)?;
    stage.end()
}

#[test]
fn bytes_of_frames_that_come_twice_count_once() -> Result<()> {
    on("twice")
}

#[test]
fn bytes_that_are_sent_again_count_once() -> Result<()> {
    on("lose:20")
}

#[test]
fn what_tcp_would_not_take_changes_nothing() -> Result<()> {
    let stage = Stage::at(Place::Link(Link::create("forged:20", 1500)?.into()))?;
    let cases = Role::BOTH.map(case).to_vec();
    let bytes: u64 = cases.iter().flat_map(|case| &case.dialogs).map(Dialog::bytes).sum();
    let expected = stage.play(cases, Manner::Usual)?;
    let Place::Link(link) = stage.place() else { return Err(anyhow!("the stage has a wire")) };
    ensure!(link.done() > 1000, "only {} segments were forged", link.done());
    let metrics = stage.expect(expected)?;
    let counted =
        metrics.count("chat_tcp_received_bytes_total", &[]) + metrics.count("chat_tcp_sent_bytes_total", &[]);
    ensure!(counted == bytes, "{counted} of {bytes} bytes of TCP");
    for reason in ["peer_reset", "local_reset", "timeout"] {
        let ended = metrics.count("chat_tcp_connections_closed_total", &[("reason", reason)]);
        ensure!(ended == 0, "{ended} connections ended by {reason}");
    }
    stage.end()
}

#[test]
fn no_byte_is_missing_where_both_directions_count_at_once() -> Result<()> {
    const SESSIONS: u64 = 6;
    const BURSTS: u64 = 300;
    let route = "/both-at-once";
    let dialog = Dialog::default().client(upgrade(route)).server(UPGRADED);
    let dialog = (0..BURSTS)
        .fold(dialog, |dialog, _| dialog.client(messages(3, 50, true)).server(messages(3, 50, false)))
        .client(goodbye(true))
        .server(goodbye(false))
        .closed_by(Client);
    let expected = Expected::nothing()
        .streams("websocket", route, 101, "completed", SESSIONS)
        .messages("websocket", route, SESSIONS * BURSTS * 3, SESSIONS * BURSTS * 3)
        // To which of them the answer to the upgrade belongs is a matter of taste.
        .l7_bytes(&["http", "websocket"], SESSIONS * dialog.bytes());
    let case = Case::served(route, dialog, expected).at_once(usize::try_from(SESSIONS)?);
    let stage = Stage::at(Place::Link(Link::create("plain", 1500)?.into()))?;
    stage.check(vec![case])?;
    stage.end()
}

/// Requests of a connection with bodies of any length, which both CPUs of a machine see at once.
fn uploads(number: usize, random: &mut Rng) -> (String, Dialog, u64) {
    const UPLOADS: usize = 30;
    let route = format!("/on-two-{}", ["a", "b", "c", "d", "e", "f", "g", "h"][number]);
    let (mut dialog, mut bytes) = (Dialog::default(), 0);
    for _ in 0..UPLOADS {
        let length = random.u64(1..60_000);
        bytes += length;
        dialog = dialog
            .client(format!("POST {route} HTTP/1.1\r\nHost: corner\r\nContent-Length: {length}\r\n\r\n"))
            .act(Client, Deed::Fill(length))
            .server(answered(200, 1));
    }
    (route, dialog.closed_by(Client), bytes)
}

#[test]
fn a_connection_that_comes_on_two_cpus_is_counted_right_or_said_to_be_missing() -> Result<()> {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let stage = Stage::at(Place::Link(Link::create("both-cpus", 1500)?.into()))?;
    let played: Vec<_> = (0..8).map(|number| uploads(number, &mut random)).collect();
    let cases = played.iter().map(|(route, dialog, _)| {
        let asked = dialog.acts().iter().filter(|Act(side, deed)| *side == Server && *deed != Deed::Close);
        let expected =
            Expected::nothing().requests_or_lost(Role::Server, "POST", route, 200, asked.count() as u64);
        Case::served(route.clone(), dialog.clone(), expected)
    });
    let bytes = played.iter().map(|(_, dialog, _)| dialog.bytes()).sum();
    let expected = stage.play(cases.collect(), Manner::Usual)?.l7_bytes(&["http", "unknown"], bytes);
    let told = stage.expect(expected);
    let metrics = stage.agent().scrape()?;
    let mut wrong = Vec::new();
    for (route, dialog, bytes) in &played {
        let labels = [("route", route.as_str())];
        let count = metrics.count("chat_http_requests_total", &labels);
        let sum = metrics.count("chat_http_request_size_bytes_sum", &labels);
        // Each act of the server is an answer, but for the close.
        let asked = dialog.acts().iter().filter(|Act(side, _)| *side == Server).count() as u64 - 1;
        if sum > *bytes || (count == asked && sum != *bytes) {
            wrong.push(format!("{route}: {count} of {asked} requests with {sum} of {bytes} bytes"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    told?;
    stage.end()
}
