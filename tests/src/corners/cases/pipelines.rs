//! Many requests in one segment before the first answer, whose answers come in one segment or one by one.
//! Then one more, which must not be taken for another.

use crate::{
    corners::{
        case::{Case, Role},
        expected::Expected,
        said::{answered, asked, get},
    },
    http::dialog::{Dialog, Side::Client},
};

/// Requests of a pipeline, each of which is counted.
const COUNTED: [(&str, u64); 3] = [("few", 60), ("hundred", 100), ("hundreds", 200)];

/// Requests of one that may be longer than what is kept: what is missing is said to be.
const LONG: u64 = 1000;

/// Both roles.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for role in Role::BOTH {
        for at_once in [true, false] {
            for (word, count) in COUNTED {
                cases.push(pipeline(role, word, count, at_once));
            }
            cases.push(long(role, at_once));
        }
        cases.push(alternating(role));
    }
    cases
}

/// Longer than what has to be kept: every request is counted or said to be missing, and none is counted as another.
fn long(role: Role, at_once: bool) -> Case {
    let mut case = pipeline(role, "long", LONG, at_once);
    let route = route(role, "long", at_once);
    case.expected = Expected::nothing().requests_or_lost(role, "GET", &route, 200, LONG).requests(
        role,
        "GET",
        &format!("{route}/more"),
        410,
        1,
    );
    case
}

fn route(role: Role, word: &str, at_once: bool) -> String {
    format!("/{}-{word}-{}", role.word(), if at_once { "together" } else { "apart" })
}

fn pipeline(role: Role, word: &str, count: u64, at_once: bool) -> Case {
    let route = route(role, word, at_once);
    let more = format!("{route}/more");
    let number = usize::try_from(count).unwrap_or_default();
    let dialog = Dialog::default().client(get(&route).repeat(number));
    let dialog = if at_once {
        dialog.server(answered(200, 8).repeat(number))
    } else {
        (0..count).fold(dialog, |dialog, _| dialog.server(answered(200, 8)))
    };
    let dialog = dialog.client(get(&more)).server(answered(410, 0)).closed_by(Client);
    let expected =
        Expected::nothing().requests(role, "GET", &route, 200, count).requests(role, "GET", &more, 410, 1);
    role.case(route, dialog, expected)
}

/// Methods whose answers are framed in other ways, a hundred and twenty of them.
fn alternating(role: Role) -> Case {
    const TIMES: usize = 40;
    let route = format!("/{}-alternating", role.word());
    let requests = ["HEAD", "GET", "DELETE"].map(|method| asked(method, &route)).concat();
    let answers = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_owned()
        + &answered(200, 5)
        + "HTTP/1.1 204 No Content\r\n\r\n";
    let dialog = Dialog::default()
        .client(requests.repeat(TIMES))
        .server(answers.repeat(TIMES))
        .client(get(&route))
        .server(answered(410, 1))
        .closed_by(Client);
    let expected = Expected::nothing()
        .requests(role, "HEAD", &route, 200, TIMES as u64)
        .requests(role, "GET", &route, 200, TIMES as u64)
        .requests(role, "DELETE", &route, 204, TIMES as u64)
        .requests(role, "GET", &route, 410, 1);
    role.case(route, dialog, expected)
}
