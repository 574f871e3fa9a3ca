//! Many small pieces in one segment: chunks of one byte, of events, header fields, interim answers.
//! A segment has up to 64 KiB, so that it holds 10,000 chunks; what comes behind it on the connection counts too.

use crate::{
    corners::{
        case::{Case, Role},
        expected::Expected,
        said::{CHUNKED, EVENTS, LAST, answered, asked, chunk, flood, get, posted},
    },
    http::dialog::{
        Deed, Dialog,
        Side::{Client, Server},
    },
};

/// Bytes each way after which both windows are so wide that 64 KiB go in one segment: a segment is at most half of the
/// widest window so far (`tcp_bound_to_half_wnd`, include/net/tcp.h).
const WARMING: u64 = 4 << 20;

/// Chunks, fields, interim answers: the issue's own, and as many as fit.
const COUNTS: [(&str, usize); 2] = [("thousands", 2000), ("most", 10_000)];

/// Beside floods of answers those of requests, and floods of other pieces.
pub fn all() -> Vec<Case> {
    let roles = Role::BOTH.into_iter();
    roles.flat_map(|role| [answers(role), requests(role), others(role)].concat()).collect()
}

/// An exchange with long bodies, on `/warm`.
pub fn warm(role: Role) -> (Dialog, Expected) {
    let length = WARMING;
    let dialog = Dialog::default()
        .client(format!("POST /warm HTTP/1.1\r\nHost: corner\r\nContent-Length: {length}\r\n\r\n"))
        .act(Client, Deed::Fill(length))
        .server(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"))
        .act(Server, Deed::Fill(length));
    (dialog, Expected::nothing().requests(role, "POST", "/warm", 200, 1))
}

/// Two exchanges that come behind the flood.
fn behind(role: Role, route: &str) -> (Dialog, Expected) {
    let (second, third) = (format!("{route}/second"), format!("{route}/third"));
    let dialog = Dialog::default()
        .client(get(&second))
        .server(answered(410, 3))
        .client(get(&third))
        .server(answered(200, 5))
        .closed_by(Client);
    let expected =
        Expected::nothing().requests(role, "GET", &second, 410, 1).requests(role, "GET", &third, 200, 1);
    (dialog, expected)
}

/// A flood on a warm connection with others behind it.
fn flooded(role: Role, route: &str, flooding: Dialog, expected: Expected) -> Case {
    let ((warming, warm), (rest, behind)) = (warm(role), behind(role, route));
    role.case(route, warming.then(flooding).then(rest), expected.and(warm).and(behind))
}

fn sized(
    expected: Expected,
    role: Role,
    method: &str,
    route: &str,
    sent: usize,
    received: usize,
) -> Expected {
    match role {
        Role::Server => expected.bodies(method, route, sent as u64, received as u64),
        Role::Client => expected,
    }
}

/// Of answers, with the head in the same segment and before it.
fn answers(role: Role) -> Vec<Case> {
    let one = |name: &str, count: usize, apart: bool| {
        let route = format!("/{}-{name}-answered{}", role.word(), if apart { "-apart" } else { "" });
        let asking = Dialog::default().client(get(&route));
        let dialog = if apart {
            asking.server(CHUNKED).server(flood(count))
        } else {
            asking.server([CHUNKED, &flood(count)].concat())
        };
        let expected = Expected::nothing().requests(role, "GET", &route, 200, 1);
        flooded(role, &route, dialog, sized(expected, role, "GET", &route, 0, count))
    };
    let counts = COUNTS.iter();
    let at_once = counts.flat_map(|(name, count)| [one(name, *count, false), one(name, *count, true)]);
    at_once.chain([in_pieces(role)]).collect()
}

/// Of answers, in segments that end anywhere.
fn in_pieces(role: Role) -> Case {
    const COUNT: usize = 10_000;
    let route = format!("/{}-pieces", role.word());
    let flood = flood(COUNT);
    let pieces = flood.as_bytes().chunks(4099);
    let asking = Dialog::default().client(get(&route)).server(CHUNKED);
    let dialog = pieces.fold(asking, Dialog::server);
    let expected = Expected::nothing().requests(role, "GET", &route, 200, 1);
    flooded(role, &route, dialog, sized(expected, role, "GET", &route, 0, COUNT))
}

/// Of requests.
fn requests(role: Role) -> Vec<Case> {
    let one = |name: &str, count: usize| {
        let route = format!("/{}-{name}-asked", role.word());
        let request = posted(&route, "Transfer-Encoding: chunked\r\n", &flood(count));
        let dialog = Dialog::default().client(request).server(answered(201, 7));
        let expected = Expected::nothing().requests(role, "POST", &route, 201, 1);
        flooded(role, &route, dialog, sized(expected, role, "POST", &route, count, 7))
    };
    COUNTS.iter().map(|(name, count)| one(name, *count)).collect()
}

/// Chunks of one byte in segments of 192 KiB, for where packets may be so long.
pub fn huge(role: Role) -> Vec<Case> {
    const COUNT: usize = 32_000;
    let (answered_route, asked_route) =
        (format!("/{}-huge-answered", role.word()), format!("/{}-huge-asked", role.word()));
    let answer = Dialog::default().client(get(&answered_route)).server([CHUNKED, &flood(COUNT)].concat());
    let request = posted(&asked_route, "Transfer-Encoding: chunked\r\n", &flood(COUNT));
    let request = Dialog::default().client(request).server(answered(201, 7));
    let of_answer = Expected::nothing().requests(role, "GET", &answered_route, 200, 1);
    let of_request = Expected::nothing().requests(role, "POST", &asked_route, 201, 1);
    vec![
        flooded(role, &answered_route, answer, sized(of_answer, role, "GET", &answered_route, 0, COUNT)),
        flooded(role, &asked_route, request, sized(of_request, role, "POST", &asked_route, COUNT, 7)),
    ]
}

/// Of anything else that a segment can hold many of.
fn others(role: Role) -> Vec<Case> {
    let route = |name: &str| format!("/{}-{name}", role.word());
    let exchange = |name: &str,
                    request: String,
                    answer: String,
                    (method, status): (&str, u16),
                    bodies: (usize, usize)| {
        let route = route(name);
        let expected = Expected::nothing().requests(role, method, &route, status, 1);
        let expected = sized(expected, role, method, &route, bodies.0, bodies.1);
        flooded(role, &route, Dialog::default().client(request).server(answer), expected)
    };
    let plain = |name: &str| get(&route(name));
    let mut cases = vec![
        exchange(
            "interim",
            plain("interim"),
            "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(2000) + &answered(200, 4),
            ("GET", 200),
            (0, 4),
        ),
        exchange(
            "answered-fields",
            plain("answered-fields"),
            format!("HTTP/1.1 200 OK\r\n{}Content-Length: 4\r\n\r\nyyyy", "a:b\r\n".repeat(10_000)),
            ("GET", 200),
            (0, 4),
        ),
        exchange(
            "asked-fields",
            posted(&route("asked-fields"), &("a:b\r\n".repeat(10_000) + "Content-Length: 2\r\n"), "ab"),
            answered(200, 4),
            ("POST", 200),
            (2, 4),
        ),
        exchange(
            "trailers",
            plain("trailers"),
            format!("{CHUNKED}1\r\nx\r\n0\r\n{}\r\n", "a:b\r\n".repeat(10_000)),
            ("GET", 200),
            (0, 1),
        ),
        exchange(
            "extensions",
            posted(
                &route("extensions"),
                "Transfer-Encoding: chunked\r\n",
                &("1;a=b\r\nx\r\n".repeat(5000) + LAST),
            ),
            format!("{CHUNKED}{}{LAST}", "1;a=b\r\ny\r\n".repeat(5000)),
            ("POST", 200),
            (5000, 5000),
        ),
        exchange(
            "empty-lines",
            format!("{}{}", "\r\n".repeat(3000), asked("GET", &route("empty-lines"))),
            answered(200, 4),
            ("GET", 200),
            (0, 4),
        ),
    ];
    if role == Role::Server {
        cases.push(of_events());
    }
    cases
}

/// Three thousand events, each a chunk of its own, in one segment.
fn of_events() -> Case {
    const EVENT: &str = "data: x\n\n";
    let route = "/flood-of-events";
    let dialog =
        Dialog::default().client(get(route)).server([EVENTS, &chunk(EVENT).repeat(3000), LAST].concat());
    let expected = Expected::nothing()
        .streams("sse", route, 200, "completed", 1)
        .messages("sse", route, 3000, 0)
        .stream_bytes("sse", route, 3000 * EVENT.len() as u64, 0);
    flooded(Role::Server, route, dialog, expected)
}
