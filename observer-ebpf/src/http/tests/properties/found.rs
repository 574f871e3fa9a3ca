//! What random messages and fuzzing found, one case each, so that it stays mended.
//! Each was read wrongly or not at all before.

use super::super::{
    super::{
        exchange::Outcome,
        host::Connection,
        state::{REQUEST, RESPONSE, Stage},
    },
    next, summaries,
};
use crate::l7::Protocol;

const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

#[test]
fn a_method_of_one_letter_is_a_request() {
    let connection =
        Connection::whole(b"X / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(summaries(&connection), [(9, "/".to_owned(), 200, 0, 0)]);
}

#[test]
fn a_status_has_three_digits_and_no_more() {
    for status in ["2000", "200x", "200\t\t", "200"] {
        let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let found = summaries(&Connection::whole(GET, response.as_bytes()));
        assert_eq!(found.len(), usize::from(status.trim_ascii() == "200"), "{status}");
    }
}

#[test]
fn a_coding_behind_which_blanks_are_left_is_lost_and_not_another() {
    for behind in [" \t ", ",", ", "] {
        let response =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked{behind}\r\n\r\n1\r\na\r\n0\r\n\r\n");
        let connection = Connection::whole(GET, response.as_bytes());
        assert_eq!((summaries(&connection), connection.lost()), (vec![], 1));
        assert_eq!(connection.state().exchange.response_bytes, 0);
    }
}

#[test]
fn a_short_line_before_a_message_is_foreign_wherever_it_is() {
    for line in ["a", "\r\r", "abcdef", "a\n\nb"] {
        for empty in 0..9 {
            let response =
                format!("{}{line}\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "\n".repeat(empty));
            let connection = Connection::whole(GET, response.as_bytes());
            assert_eq!(summaries(&connection), [], "{}", response.escape_debug());
            assert_eq!(connection.state().protocol(1), Protocol::Unknown);
        }
    }
}

#[test]
fn a_version_is_no_target_and_a_method_begins_with_a_letter() {
    for line in ["PUT HTTP/1.0", "DELETE HTTP/1.1", "-OST /p HTTP/1.1", "_ /p HTTP/1.1"] {
        let request = format!("{line}\r\nCookie: secret\r\n\r\n");
        for cut in 1..request.len() {
            let connection = Connection::default();
            connection.segment(REQUEST, 0, &request.as_bytes()[..cut], 1);
            connection.segment(REQUEST, u32::try_from(cut).unwrap(), &request.as_bytes()[cut..], 1);
            connection.segment(RESPONSE, 0, b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", 2);
            assert_eq!(summaries(&connection), [], "{line} cut at {cut}");
            assert_eq!(connection.state().protocol(0), Protocol::Unknown);
        }
    }
}

#[test]
fn what_is_behind_a_hole_is_no_chunk_where_nothing_is_known() {
    let connection = Connection::preexisting(0, 0);
    connection.segment(RESPONSE, 100, b"0\r\n\r\n", 1);
    assert_eq!(connection.state().halves[1].stage, Stage::Resync as u8);
    assert_eq!((connection.exchanges(), connection.state().outstanding()), (vec![], 0));
}

#[test]
fn a_websocket_of_too_many_frames_at_once_is_lost_and_its_end_is_told() {
    let connection = Connection::whole(
        b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
    );
    connection.segment(RESPONSE, next(&connection, RESPONSE), &[0x82, 0].repeat(3000), 3);
    connection.closed(Outcome::Reset, 4);
    let outcomes: Vec<_> = connection.exchanges().iter().map(|one| one.outcome).collect();
    assert_eq!((outcomes, connection.lost()), (vec![Outcome::Reset as u8], 1));
}
