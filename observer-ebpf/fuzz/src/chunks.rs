//! Chunked bodies against a plain decoder, and against themselves cut in two.
//! Input: where to cut, then the body.

use observer_ebpf::{
    framer::{REQUEST, RESPONSE},
    host::Connection,
    records::exchange::Outcome,
};

use crate::{
    check, check_same,
    decoders::{Chunked, chunked},
    number, send,
};

/// Fails if a body ends elsewhere, or is longer or shorter, than the decoder says.
pub fn chunks(mut bytes: &[u8]) {
    let cut = number(&mut bytes);
    let asked = b"GET /1 HTTP/1.1\r\n\r\n";
    let expected = chunked(bytes);
    let [whole, cut] = [0, cut].map(|cut| {
        let connection = Connection::default();
        send(&connection, REQUEST, asked, 0);
        send(&connection, RESPONSE, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0);
        send(&connection, RESPONSE, bytes, cut);
        connection.closed(Outcome::Reset, 9);
        check(&connection);
        let found = connection.exchanges().first().copied();
        let completed = found.filter(|one| one.outcome == Outcome::Completed as u8);
        match (expected, completed) {
            (Chunked::Complete { bytes, .. }, Some(one)) => assert_eq!(one.response_bytes, bytes),
            (Chunked::Complete { .. }, None) => assert!(connection.lost() > 0, "an end was not seen"),
            (_, Some(one)) => panic!("{expected:?}, and it is an exchange of {} bytes", one.response_bytes),
            (_, None) => {}
        }
        connection
    });
    check_same(&whole, &cut, [asked, bytes]);
}
