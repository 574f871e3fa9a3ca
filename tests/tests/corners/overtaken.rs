//! FINs that overtake the data in front of them, and FINs that cross: an answer that came in full counts in full.
//! On a wire between two namespaces whose frames are held back where the test wants it.

use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use tests::{
    corners::{
        actor::{self, Manner, Order},
        case::{Case, Role},
        cases::half_close,
        expected::Expected,
        link::{Link, TARGET, TEST},
        said::{CHUNKED, EVENTS, LAST, answered, chunk, get},
        stage::{Place, Stage},
    },
    http::dialog::{
        Deed, Dialog,
        Side::{Client, Server},
    },
};

/// Bytes of a packet.
const MTU: u32 = 1500;

/// Answers, each of which is followed by the server's FIN at once.
fn closing(role: Role) -> Vec<Case> {
    let one = |word: &str, pieces: &[&str]| {
        let route = format!("/{}-closing-{word}", role.word());
        let asking = Dialog::default().client(get(&route));
        let dialog = pieces.iter().fold(asking, Dialog::server).closed_by(Server);
        role.case(route.clone(), dialog, Expected::nothing().requests(role, "GET", &route, 200, 1))
    };
    vec![
        one("length", &[&answered(200, 9)]),
        one("chunked", &[CHUNKED, &chunk("hello"), LAST]),
        one("chunked-at-once", &[&[CHUNKED, &chunk("hello"), LAST].concat()]),
        one("until-close", &["HTTP/1.1 200 OK\r\n\r\n", "hello"]),
        one("until-close-at-once", &["HTTP/1.1 200 OK\r\n\r\nhello"]),
        one("long", &[&answered(200, 20_000)]),
    ]
}

#[test]
fn a_fin_that_overtakes_its_data_ends_nothing_before_its_time() -> Result<()> {
    let stage = Stage::at(Place::Link(Link::create("data-before-fin", MTU)?.into()))?;
    let roles = Role::BOTH.into_iter();
    let cases = roles.flat_map(closing).chain(half_close::all()).collect();
    let expected = stage.play(cases, Manner::Usual)?;
    let Place::Link(link) = stage.place() else { return Err(anyhow!("the stage has a wire")) };
    ensure!(link.done() >= 12, "only {} FINs overtook anything", link.done());
    stage.expect(expected)?;
    stage.end()
}

/// What is said where both FINs are under way at once, as either side has it: neither waits for the other's.
fn crossing(route: &str, pieces: &[&str]) -> (Dialog, Dialog) {
    let says = |dialog: Dialog| pieces.iter().fold(dialog, Dialog::server);
    let asking = Dialog::default().client(get(route));
    let server = says(asking.clone()).act(Server, Deed::Close).act(Client, Deed::Close);
    let client = says(asking.act(Client, Deed::Pause(30)).act(Client, Deed::Close)).act(Server, Deed::Close);
    (client, server)
}

#[test]
fn fins_that_cross_end_an_answer_that_came_in_full() -> Result<()> {
    let stage = Stage::at(Place::Link(Link::create("delay:60", MTU)?.into()))?;
    let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n";
    let kinds: [(&str, Vec<&str>); 4] = [
        ("chunked", vec![CHUNKED, "5\r\nhello\r\n", LAST]),
        ("until-close", vec!["HTTP/1.1 200 OK\r\n\r\nhello"]),
        ("events", vec![EVENTS, "9\r\ndata: x\n\n\r\n", LAST]),
        ("events-until-close", vec![stream]),
    ];
    let stage = &stage;
    let play = |role: Role, route: &str, pieces: &[&str]| -> Result<()> {
        let (client, server) = crossing(route, pieces);
        if role == Role::Server {
            let mut serving = stage.actor().order(&Order::Serve(TARGET, Manner::Usual, vec![server]))?;
            let address = serving.address()?;
            let called = stage.near(|| actor::call(address, Manner::Usual, &client));
            return serving.wait().and(called);
        }
        let listener = stage.near(|| actor::listening(TEST, Manner::Usual))?;
        let calling = stage.actor().order(&Order::Call(listener.local_addr()?, Manner::Usual, client))?;
        let answered = actor::serve(&listener, &[server]);
        calling.wait().and(answered)
    };
    let mut expected = Expected::nothing();
    thread::scope(|scope| {
        let mut playing = Vec::new();
        for role in Role::BOTH {
            for (word, pieces) in &kinds {
                let route = format!("/{}-crossing-{word}", role.word());
                let own = Expected::nothing();
                let own = if role == Role::Server && word.starts_with("events") {
                    own.streams("sse", &route, 200, "completed", 1)
                } else {
                    own.requests(role, "GET", &route, 200, 1)
                };
                expected = std::mem::take(&mut expected).and(own);
                playing.push(scope.spawn(move || play(role, &route, pieces).context(route)));
            }
        }
        playing.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    stage.expect(expected).map(drop)
}
