//! Bodies that cannot be framed any more while the connection stays open: what was under way has ended.
//! The gauges say so at once, not when the connection closes.

use anyhow::{Context as _, Result};
use tests::{
    corners::{
        case::Role,
        expected::Expected,
        said::{CHUNKED, EVENTS, answered, chunk, get, posted},
        stage::{Held, Stage},
    },
    http::dialog::{Dialog, Side::Client},
};

/// What is said, and the route with its method and the status that it may be counted with.
fn stopped() -> Vec<(&'static str, &'static str, u16, Dialog)> {
    let broken = |route: &'static str, answer: String| {
        ("GET", route, 200, Dialog::default().client(get(route)).server(answer))
    };
    let upload = posted("/bad-upload", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\nzz\r\n");
    vec![
        broken("/bad-size", [CHUNKED, &chunk("hello"), "zz\r\n"].concat()),
        broken("/bad-end", [CHUNKED, "5\r\nhelloworld\r\n"].concat()),
        broken("/bad-event", [EVENTS, &chunk("data: x\n\n"), "zz\r\n"].concat()),
        ("POST", "/bad-upload", 400, Dialog::default().client(upload).server(answered(400, 0))),
    ]
}

#[test]
fn an_answer_that_cannot_be_followed_is_under_way_no_more() -> Result<()> {
    let stage = Stage::create()?;
    let mut held = Vec::new();
    let mut expected = Expected::nothing().in_flight(0);
    for (method, route, status, dialog) in stopped() {
        held.push(stage.hold(&dialog.closed_by(Client))?);
        expected = match route {
            // What has begun as a stream may end as one.
            "/bad-event" => expected.streams_or_lost("sse", route, 1),
            _ => expected.requests_or_lost(Role::Server, method, route, status, 1),
        };
    }
    stage.expect(expected.clone().open("inbound", 4)).context("while the connections are open")?;
    held.into_iter().try_for_each(Held::close)?;
    stage.expect(expected.open("inbound", 0)).context("when they have closed")?;
    stage.end()
}
