//! What random messages and fuzzing found, one case each, so that it stays mended.
//! Each was read wrongly or not at all before.

use super::super::{super::host::Connection, summaries};

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
