//! Connections whose handshake the first data completes: the server asked for that, or the acknowledgement was lost.
//! The data passes on the listener's socket, however long it is.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    path::Path,
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use tests::{
    corners::{
        actor::Manner,
        case::{Case, Role},
        expected::Expected,
        link::Link,
        said::{LAST, answered, chunk, get, posted},
        stage::{Place, Stage},
    },
    http::dialog::{Dialog, Side::Client},
    process::{Background, PATIENCE},
};

/// Bytes that a packet has beside a body, at most: heads of all layers, and sizes of chunks.
const HEAD: usize = 800;

/// Bytes of a chunk.
const PIECE: usize = 1000;

/// Bytes of a body, in one write with its head.
const SIZES: [(&str, usize); 8] = [
    ("none", 0),
    ("little", 1000),
    ("just", 1900),
    ("page", 3000),
    ("pages", 10_000),
    ("half", 30_000),
    ("most", 60_000),
    ("several", 100_000),
];

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunks,
}

const FRAMINGS: [(&str, Framing); 2] = [("length", Framing::Length), ("chunks", Framing::Chunks)];

fn request(route: &str, framing: Framing, bytes: usize) -> String {
    if framing == Framing::Length {
        return posted(route, &format!("Content-Length: {bytes}\r\n"), &"x".repeat(bytes));
    }
    let chunks: String =
        (0..bytes).step_by(PIECE).map(|at| chunk(&"x".repeat(PIECE.min(bytes - at)))).collect();
    posted(route, "Transfer-Encoding: chunked\r\n", &(chunks + LAST))
}

/// Two exchanges on a connection to the deferring server.
fn ask(address: SocketAddr, route: &str, framing: Framing, bytes: usize) -> Result<()> {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut stream = TcpStream::connect(address).context("cannot connect")?;
    stream.set_read_timeout(Some(PATIENCE)).context("cannot set a time limit")?;
    for request in [request(route, framing, bytes), get(route)] {
        stream.write_all(request.as_bytes()).context("cannot ask")?;
        stream.read_exact(&mut [0; ANSWER.len()]).context("no answer")?;
    }
    stream.shutdown(Shutdown::Write).context("cannot close")?;
    stream.read_to_end(&mut Vec::new()).map(drop).context("no end")
}

#[test]
fn what_a_deferred_handshake_waits_for_counts() -> Result<()> {
    let stage = Stage::create()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corners/deferred.py");
    let mut server = Background::start(stage.cgroup().command("python3").arg(script))?;
    let port =
        server.wait_for("port", PATIENCE, |line| line.strip_prefix("listening on port ")?.parse().ok())?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    thread::scope(|scope| {
        let asking: Vec<_> = uploads("deferred")
            .map(|(route, framing, bytes)| {
                scope.spawn(move || ask(address, &route, framing, bytes).context(route))
            })
            .collect();
        asking.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    let expected = uploads("deferred")
        .fold(Expected::nothing(), |all, (route, _, bytes)| all.and(counted(&route, bytes)));
    stage.expect(expected)?;
    stage.end()
}

/// Every size in every framing, on routes of their own.
fn uploads(word: &str) -> impl Iterator<Item = (String, Framing, usize)> {
    FRAMINGS.iter().flat_map(move |(of, framing)| {
        SIZES.iter().map(move |(size, bytes)| (format!("/{word}-{of}-{size}"), *framing, *bytes))
    })
}

fn counted(route: &str, bytes: usize) -> Expected {
    Expected::nothing()
        .requests(Role::Server, "POST", route, 200, 1)
        .bodies("POST", route, bytes as u64, 2)
        .requests(Role::Server, "GET", route, 200, 1)
}

fn cases(mtu: u32) -> Vec<Case> {
    let upload =
        |(route, framing, bytes): (String, Framing, usize)| {
            let dialog = Dialog::default()
                .client(request(&route, framing, bytes))
                .server(answered(200, 2))
                .client(get(&route))
                .server(answered(200, 2))
                .closed_by(Client);
            // Packets behind the first may come before there is a connection, on a busy machine.
            let expected =
                if bytes + HEAD <= usize::try_from(mtu).unwrap_or_default() {
                    counted(&route, bytes)
                } else {
                    Expected::nothing()
                        .requests_or_lost(Role::Server, "POST", &route, 200, 1)
                        .requests_or_lost(Role::Server, "GET", &route, 200, 1)
                };
            Case::served(route, dialog, expected)
        };
    uploads("unacknowledged").map(upload).collect()
}

/// Plays them on a wire of such packets that loses the acknowledgement of each handshake.
fn without_acknowledgement(mtu: u32) -> Result<()> {
    let stage = Stage::at(Place::Link(Link::create("first-ack", mtu)?.into()))?;
    let expected = stage.play(cases(mtu), Manner::Usual)?;
    let Place::Link(link) = stage.place() else { return Err(anyhow!("the stage has a wire")) };
    ensure!(link.done() >= SIZES.len(), "only {} acknowledgements were lost", link.done());
    stage.expect(expected)?;
    stage.end()
}

#[test]
fn data_behind_a_lost_acknowledgement_counts_in_packets_of_any_size() -> Result<()> {
    [1500, 9000, 60_000].into_iter().try_for_each(|mtu| {
        without_acknowledgement(mtu).with_context(|| format!("in packets of {mtu} bytes"))
    })
}
