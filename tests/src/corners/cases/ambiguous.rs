//! Requests that say two ways how long they are, with three more behind them: what comes next is not known for certain.
//! Each is counted right or said to be missing.

use crate::{
    corners::{
        case::{Case, Role},
        expected::Expected,
        said::{answered, get, posted},
    },
    http::dialog::{Dialog, Side::Client},
};

/// Requests that must add up, the ambiguous one among them.
const ASKED: u64 = 4;

/// Both roles.
pub fn all() -> Vec<Case> {
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    let twice = "Content-Length: 5\r\nContent-Length: 5\r\n";
    let mut cases = Vec::new();
    for role in Role::BOTH {
        for together in [true, false] {
            cases.push(case(role, "both", both, "0\r\n\r\n", together));
            cases.push(case(role, "twice", twice, "hello", together));
        }
    }
    cases
}

fn case(role: Role, word: &str, fields: &str, body: &str, together: bool) -> Case {
    let route = format!("/{}-{word}-{}", role.word(), if together { "together" } else { "apart" });
    // On one route and with one method, so that what is counted of them adds up.
    let first = posted(&route, fields, body);
    let later = posted(&route, "Content-Length: 0\r\n", "");
    let dialog = Dialog::default().client(get(&format!("{route}-before"))).server(answered(200, 1));
    let dialog = if together {
        let answers = answered(200, 2).repeat(4);
        dialog.client(first + &later.repeat(3)).server(answers)
    } else {
        let dialog = dialog.client(first).server(answered(200, 2));
        (0..3).fold(dialog, |dialog, _| dialog.client(&later).server(answered(200, 2)))
    };
    let expected = Expected::nothing()
        .requests(role, "GET", &format!("{route}-before"), 200, 1)
        .requests_or_lost(role, "POST", &route, 200, ASKED);
    role.case(route, dialog.closed_by(Client), expected)
}
