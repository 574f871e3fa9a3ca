//! One socket that is connected, used, disconnected and connected again: each connection is one of its own.
//! Places for followed connections are given back once, so that others find the room that there is, and no more.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use tempfile::TempDir;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    corners::{
        actor::{self, Actor, Manner, Order},
        case::Role,
        expected::Expected,
        said::{answered, get},
        stage::{Place, Stage},
    },
    http::dialog::{Deed, Dialog, Side::Client},
    metrics::Metrics,
    process::PATIENCE,
};

const TIMES: usize = 10;
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// An exchange, after which the client disconnects: its server sees a reset.
fn exchange(route: &str) -> Dialog {
    Dialog::default().client(get(route)).server(answered(200, 5)).act(Client, Deed::Reset)
}

/// Lets the target connect one socket so often and play `dialog` each time.
fn reconnect(stage: &Stage, dialog: &Dialog) -> Result<()> {
    let listener = actor::listening(ANY, Manner::Usual)?;
    let address = listener.local_addr()?;
    let ordered = stage.actor().order(&Order::Reconnect(vec![address; TIMES], dialog.clone()))?;
    let served = actor::serve(&listener, &vec![dialog.clone(); TIMES]);
    ordered.wait().and(served)
}

#[test]
fn a_socket_that_is_connected_ten_times_has_ten_connections() -> Result<()> {
    let stage = Stage::create()?;
    reconnect(&stage, &exchange("/reconnected"))?;
    // Nothing was said on these.
    reconnect(&stage, &Dialog::default().act(Client, Deed::Reset))?;
    let times = TIMES as u64;
    stage.expect(
        Expected::nothing()
            .requests(Role::Client, "GET", "/reconnected", 200, times)
            .opened_and_closed("outbound", 2 * times),
    )?;
    stage.end()
}

#[test]
fn a_socket_that_is_disconnected_in_the_middle_has_left_each_time() -> Result<()> {
    let stage = Stage::create()?;
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello";
    let asked = |route: &str| Dialog::default().client(get(route));
    reconnect(&stage, &asked("/left-unanswered").act(Client, Deed::Reset))?;
    reconnect(&stage, &asked("/left-in-the-middle").server(begun).act(Client, Deed::Reset))?;
    let times = TIMES as u64;
    stage.expect(
        Expected::nothing()
            .requests(Role::Client, "GET", "/left-unanswered", 499, times)
            .requests(Role::Client, "GET", "/left-in-the-middle", 200, times)
            .opened_and_closed("outbound", 2 * times),
    )?;
    stage.end()
}

/// Connections that may be followed at once in the test below.
const LIMIT: usize = 10;
/// Requests of the other target, on a connection each, one after another.
const LATER: usize = 100;
/// Its connections at once.
const AT_ONCE: usize = 15;

/// A client of one connection to `address`: one exchange, and the connection.
fn held(address: SocketAddr, request: &str, answer: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).context("cannot connect")?;
    stream.write_all(request.as_bytes()).context("cannot ask")?;
    stream.read_exact(&mut vec![0; answer.len()]).context("no answer")?;
    Ok(stream)
}

fn close(mut stream: TcpStream) -> Result<()> {
    stream.shutdown(Shutdown::Write).context("cannot close")?;
    let read = stream.read(&mut [0]).context("cannot read the end")?;
    ensure!(read == 0, "bytes came behind the answer");
    Ok(())
}

/// Two sockets of one target that are connected again and again, and then another target: one connection after another, and
/// many at once, of which so many are followed.
fn beside(limits: &str, followed: usize) -> Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("observer.toml");
    fs::write(&file, format!("{limits}[docker]\nsocket = \"\"\n"))?;
    let other = Cgroup::create("observer-other")?;
    let serving = Actor::start(|program| other.command(program))?;
    let stage = Stage::with(Place::Loopback, |target| {
        let targets = [target.to_owned(), other.selector()].map(|target| format!("{target},app=generic"));
        let file = file.display().to_string();
        Agent::start(["--config", &file, "--target", &targets[0], "--target", &targets[1]])
    })?;
    thread::scope(|scope| {
        let sockets: Vec<_> =
            (0..2).map(|_| scope.spawn(|| reconnect(&stage, &exchange("/reconnected")))).collect();
        sockets.into_iter().try_for_each(|socket| socket.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;

    let (request, answer) = (get("/later"), answered(200, 5));
    let dialog = Dialog::default().client(&request).server(&answer).closed_by(Client);
    let mut order = serving.order(&Order::Serve(ANY, Manner::Usual, vec![dialog.clone(); LATER]))?;
    let address = order.address()?;
    for _ in 0..LATER {
        close(held(address, &request, &answer)?)?;
    }
    order.wait()?;
    let reconnected =
        Expected::nothing().requests(Role::Client, "GET", "/reconnected", 200, 2 * TIMES as u64);
    let later = reconnected.requests(Role::Server, "GET", "/later", 200, LATER as u64);
    let one_by_one = stage.expect(later.clone()).context("one after another").map(drop);

    let mut order = serving.order(&Order::Serve(ANY, Manner::Usual, vec![dialog; AT_ONCE]))?;
    let address = order.address()?;
    let open = (0..AT_ONCE).map(|_| held(address, &request, &answer)).collect::<Result<Vec<_>>>()?;
    let bounded = later.requests(Role::Server, "GET", "/later", 200, followed as u64);
    one_by_one.and(stage.expect(bounded).context("at once"))?;
    let without_room = (AT_ONCE - followed) as u64;
    let given_up =
        |metrics: &Metrics| metrics.count("observer_connections_given_up_total", &[("reason", "no_room")]);
    let metrics = stage.agent().scrape_until(PATIENCE, |metrics| given_up(metrics) >= without_room)?;
    ensure!(
        given_up(&metrics) == without_room,
        "{} found no room, and not {without_room}",
        given_up(&metrics)
    );
    open.into_iter().try_for_each(close)?;
    order.wait()?;
    stage.end()
}

#[test]
fn sockets_that_are_connected_again_take_no_room_from_others_and_give_none() -> Result<()> {
    beside(&format!("[limits]\nhttp_connections = {LIMIT}\n"), LIMIT)
}

#[test]
fn room_without_a_limit_stays_without_one_where_sockets_are_connected_again() -> Result<()> {
    beside("", AT_ONCE)
}
