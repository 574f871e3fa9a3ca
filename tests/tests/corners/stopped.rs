//! Bodies that cannot be framed any more while the connection stays open: what was under way has ended.
//! The gauges say so at once, not when the connection closes.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use tests::{
    corners::{
        actor::Manner,
        case::{Case, Role},
        expected::Expected,
        said::{CHUNKED, EVENTS, chunk, get, posted},
        stage::Stage,
    },
    http::dialog::{
        Deed, Dialog,
        Side::{Client, Server},
    },
};

/// For how long the connections stay open, in milliseconds; longer than the metrics are waited for.
const OPEN: u64 = 7000;

fn stopped(route: &str, dialog: Dialog) -> Case {
    let dialog = dialog.act(Server, Deed::Pause(OPEN)).closed_by(Client);
    let expected = Expected::nothing().requests_or_lost(Role::Server, "GET", route, 200, 1).in_flight(0);
    Case::served(route, dialog, expected)
}

#[test]
fn an_answer_that_cannot_be_followed_is_under_way_no_more() -> Result<()> {
    let stage = Stage::create()?;
    let asked = |route: &str| Dialog::default().client(get(route));
    let cases = vec![
        stopped("/bad-size", asked("/bad-size").server([CHUNKED, &chunk("hello"), "zz\r\n"].concat())),
        stopped("/bad-end", asked("/bad-end").server([CHUNKED, "5\r\nhelloworld\r\n"].concat())),
        stopped("/bad-event", asked("/bad-event").server([EVENTS, &chunk("data: x\n\n"), "zz\r\n"].concat())),
        {
            let request = posted("/bad-upload", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\nzz\r\n");
            let dialog = Dialog::default().client(request).act(Server, Deed::Pause(OPEN)).closed_by(Client);
            let expected = Expected::nothing().requests_or_lost(Role::Server, "POST", "/bad-upload", 499, 1);
            Case::served("/bad-upload", dialog, expected.in_flight(0))
        },
    ];
    // A stream that has begun may be counted as one.
    let open = cases.iter().fold(Expected::nothing(), |all, case| all.and(case.expected.clone()));
    thread::scope(|scope| {
        let playing = scope.spawn(|| stage.play(cases, Manner::Usual));
        // Nothing is to be seen before the bad bytes have passed.
        thread::sleep(Duration::from_millis(300));
        let told = stage.expect(open.open("inbound", 4)).map(drop);
        let played = playing.join().map_err(|_| anyhow!("a thread panicked"))?.map(drop);
        told.context("while the connections are open").and(played)
    })?;
    stage.end()
}
