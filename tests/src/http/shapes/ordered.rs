//! Messages that do not take turns: pipelining, interim answers, answers to requests that are still being sent.
//! Interim answers: RFC 9110 section 15.2; early ones: section 10.1.1.

use super::{Shape, counted, one};
use crate::http::dialog::{
    Deed, Dialog,
    Side::{Client, Server},
};

/// Requests sent before the first answer.
const PIPELINED: usize = 20;

/// All of this kind.
pub(super) fn ordered() -> Vec<Shape> {
    let asked = |number: usize| match number % 2 {
        0 => format!("GET /pipelined/{number} HTTP/1.1\r\nHost: x\r\n\r\n"),
        _ => format!("POST /pipelined/{number} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd"),
    };
    let answer = |number: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{number:08}");
    let all = (0..PIPELINED).map(asked).collect::<String>();
    let pipelined =
        (0..PIPELINED).fold(Dialog::default().client(all), |dialog, number| dialog.server(answer(number)));
    let exchange = |number: usize| {
        if number.is_multiple_of(2) {
            ("GET", "/pipelined/{number}", 200, (0, 8))
        } else {
            ("POST", "/pipelined/{number}", 200, (4, 8))
        }
    };
    let early = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmuch";
    vec![
        counted(&(0..PIPELINED).map(exchange).collect::<Vec<_>>(), pipelined.closed_by(Client)),
        // Each answer is read by the method that it belongs to.
        counted(
            &[
                ("HEAD", "/ahead", 200, (0, 0)),
                ("GET", "/ahead", 200, (0, 5)),
                ("DELETE", "/ahead", 204, (0, 0)),
                ("GET", "/ahead", 304, (0, 0)),
            ],
            Dialog::default()
                .client(
                    ["HEAD", "GET", "DELETE", "GET"]
                        .map(|method| format!("{method} /ahead HTTP/1.1\r\n\r\n"))
                        .concat(),
                )
                .server(concat!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/",
                    "HTTP/1.1 204 No Content\r\n\r\n",
                    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"
                ))
                .closed_by(Server),
        ),
        one(("POST", "/continued", 201, (5, 2)), {
            Dialog::default()
                .client("POST /continued HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
                .server("HTTP/1.1 100 Continue\r\n\r\n")
                .client("hello")
                .server("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
        }),
        one(("GET", "/hinted", 200, (0, 5)), {
            Dialog::default()
                .client("GET /hinted HTTP/1.1\r\nHost: x\r\n\r\n")
                .server("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
                .server("HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\n")
                .server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        }),
        // The answer is there before the upload is, which then goes on: what counts had come before the answer's end.
        counted(
            &[("PUT", "/refused-early", 413, (20_000, 4)), ("GET", "/after-refused", 200, (0, 5))],
            Dialog::default()
                .client("PUT /refused-early HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
                .act(Client, Deed::Fill(20_000))
                .server("HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nmuch")
                .act(Client, Deed::Fill(40_000))
                .client("GET /after-refused HTTP/1.1\r\nHost: x\r\n\r\n")
                .server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                .closed_by(Client),
        ),
        // Here it does not.
        counted(
            &[("PUT", "/refused", 413, (20_000, 4))],
            Dialog::default()
                .client("PUT /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
                .act(Client, Deed::Fill(20_000))
                .server(early)
                .closed_by(Server),
        ),
    ]
}
