//! What random messages and fuzzing found, one case each, so that it stays mended.
//! Each was read wrongly or not at all before.

use super::super::{next, summaries};
use crate::{
    host::Connection,
    http1::state::{REQUEST, RESPONSE, Stage},
    records::exchange::Outcome,
    records::l7::Protocol,
};

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
fn a_list_of_codings_that_ends_with_a_comma_is_lost_and_not_another() {
    for behind in [",", ", ", ", \t"] {
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
fn any_number_of_frames_may_come_at_once() {
    let connection = Connection::whole(
        b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
    );
    connection.segment(RESPONSE, next(&connection, RESPONSE), &[0x82, 0].repeat(90_000), 3);
    connection.segment(REQUEST, next(&connection, REQUEST), &[0x82, 0x81, 1, 2, 3, 4, 5].repeat(9_000), 3);
    connection.closed(Outcome::Reset, 4);
    let found: Vec<_> = connection.exchanges().iter().map(|one| (one.sent, one.received)).collect();
    assert_eq!((found, connection.lost()), (vec![(90_000, 9_000)], 0));
}

#[test]
fn any_number_of_chunks_may_come_at_once() {
    for (chunk, bytes) in [("1\r\nx\r\n", 1), ("0001;a=b\r\nx\r\n", 1), ("fe\r\n", 254)] {
        let chunk = if bytes == 254 { format!("{chunk}{}\r\n", "y".repeat(254)) } else { chunk.to_owned() };
        let count = 190_000 / chunk.len();
        let body = format!("{}0\r\n\r\n", chunk.repeat(count));
        let connection = Connection::whole(
            format!("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}GET /b HTTP/1.1\r\n\r\n").as_bytes(),
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"
            )
            .as_bytes(),
        );
        let all = (count * bytes) as u64;
        let [first, second] = connection.exchanges()[..] else { panic!("{chunk:?}") };
        assert_eq!((first.status, first.request_bytes, first.response_bytes), (200, all, all), "{chunk:?}");
        assert_eq!(
            (u64::from(first.sent), second.status, connection.lost()),
            (count as u64, 404, 0),
            "{chunk:?}"
        );
    }
}
