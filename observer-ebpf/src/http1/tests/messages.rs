//! One message of each kind: how its end is found, and what is known of it then.
//! Formats by RFC 9112; what real servers send is in the recorded exchanges.

use super::{next, summaries};
use crate::{
    host::{Connection, Record},
    http1::state::{REQUEST, RESPONSE},
    records::{
        exchange::{Body, Outcome},
        l7::Protocol,
    },
};
use std::collections::BTreeMap;

const GET: &[u8] = b"GET /a/b?secret=1 HTTP/1.1\r\nHost: x\r\nCookie: c\r\n\r\n";

fn answer(response: &[u8]) -> Vec<(usize, String, u16, u64, u64)> {
    let connection = Connection::whole(GET, response);
    assert_eq!(connection.lost(), 0);
    summaries(&connection)
}

#[test]
fn the_length_of_a_body_is_told_by_its_head() {
    let get = |status, bytes| vec![(0, "/a/b".to_owned(), status, 0, bytes)];
    assert_eq!(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), get(200, 5));
    assert_eq!(answer(b"HTTP/1.1 200 OK\r\ncontent-LENGTH:5\r\n\r\nhello"), get(200, 5));
    assert_eq!(answer(b"HTTP/1.1 200 OK\ncontent-length: \t 5 \n\nhello"), get(200, 5));
    assert_eq!(answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), get(404, 0));
    assert_eq!(answer(b"HTTP/1.1 204 No Content\r\n\r\n"), get(204, 0));
    assert_eq!(answer(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"), get(304, 0));
    assert_eq!(
        answer(b"HTTP/1.0 471 \r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        get(471, 5)
    );
    assert_eq!(
        answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 201 Y\r\nContent-Length: 1\r\n\r\nx"),
        get(201, 1)
    );
    assert_eq!(
        answer(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nA;name=\"v\"\r\n0123456789\r\n00\r\nTrailer: 1\r\nOther: 2\r\n\r\n"
        ),
        get(200, 10)
    );
}

#[test]
fn a_body_without_a_length_ends_with_the_connection() {
    let connection = Connection::whole(GET, b"HTTP/1.0 200 OK\r\n\r\nhel");
    connection.segment(RESPONSE, next(&connection, RESPONSE), b"lo", 3_000);
    assert_eq!(summaries(&connection), []);
    connection.fin(RESPONSE, 4_000);
    let exchanges = connection.exchanges();
    assert_eq!(summaries(&connection), [(0, "/a/b".to_owned(), 200, 0, 5)]);
    assert_eq!(exchanges[0].outcome, Outcome::Completed as u8);
    assert_eq!(exchanges[0].body, Body::Unknown as u8);
    assert_eq!(
        (exchanges[0].started_ns, exchanges[0].response_ns, exchanges[0].ended_ns),
        (1_000, 2_000, 4_000)
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let requests: Vec<u8> = (0..20)
        .flat_map(|number| {
            match number % 4 {
                0 => format!("GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n"),
                1 => format!("POST /{number} HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"),
                2 => format!("HEAD /{number} HTTP/1.1\r\n\r\n"),
                _ => format!(
                    "PUT /{number} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                ),
            }
            .into_bytes()
        })
        .collect();
    let responses: Vec<u8> = (0..20)
        .flat_map(|number| {
            let body = if number % 4 == 2 { "" } else { "hello" };
            format!("HTTP/1.1 4{number:02} Gone\r\nContent-Length: 5\r\n\r\n{body}").into_bytes()
        })
        .collect();
    let connection = Connection::whole(&requests, &responses);
    assert_eq!(connection.lost(), 0);
    let exchanges = connection.exchanges();
    assert_eq!(
        exchanges.iter().map(|exchange| exchange.status).collect::<Vec<_>>(),
        (400..420).collect::<Vec<_>>()
    );
    let records = connection.records();
    let ahead = records.iter().filter_map(|record| match record {
        Record::Ahead(request) => Some((request.index, request.request_bytes)),
        Record::Exchange(_) => None,
    });
    // Those in chunks are sent again once their bytes are known.
    let ahead: BTreeMap<u32, u64> = ahead.collect();
    let bytes = |index: u32| if index % 4 == 1 || index % 4 == 3 { 3 } else { 0 };
    assert!(ahead.into_iter().eq((1..20).map(|index| (index, bytes(index)))));
    for (number, exchange) in exchanges.iter().enumerate() {
        assert_eq!(exchange.index as usize, number);
        assert_eq!(exchange.response_bytes, if number % 4 == 2 { 0 } else { 5 });
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_not_read_at_all() {
    for head in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length:",
        "Content-Length : 5",
        "Content-Length: 5\r\n 6",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: xchunked\r\nContent-Length: 4",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\r\n chunked",
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\n{head}\r\nHost: x\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n"
        );
        let connection = Connection::default();
        connection.segment(REQUEST, 0, request.as_bytes(), 1);
        connection.segment(RESPONSE, 0, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 2);
        assert_eq!((summaries(&connection), connection.lost()), (vec![], 1), "{head}");
        // What was asked behind it is told by how many answers come.
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        connection.segment(RESPONSE, next(&connection, RESPONSE), answer, 3);
        assert_eq!((summaries(&connection), connection.lost()), (vec![], 2), "{head}");
    }
}

#[test]
fn bytes_that_are_no_message_are_a_loss_where_they_are_answered() {
    const NOTHING: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
    for foreign in [b"\x16\x03\x01\x02".as_slice(), b"*1\r\n$4\r\nPING\r\n"] {
        for side in [REQUEST, RESPONSE] {
            let connection = Connection::whole(GET, NOTHING);
            connection.segment(side, next(&connection, side), foreign, 3);
            assert_eq!((connection.exchanges().len(), connection.lost()), (1, 0), "of side {side}");
            assert_eq!(connection.state().protocol(side), Protocol::Unknown);
            // An answer tells that something was asked for.
            connection.segment(RESPONSE, next(&connection, RESPONSE), NOTHING, 4);
            assert_eq!((connection.exchanges().len(), connection.lost()), (1, 1 - side), "of side {side}");
        }
    }
}

#[test]
fn bytes_of_other_protocols_are_no_request() {
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET /\r\n\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"A\r\nGET / HTTP/1.1\r\n\r\n",
    ] {
        let connection = Connection::default();
        connection.segment(REQUEST, 0, bytes, 1);
        connection.segment(RESPONSE, 0, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", 2);
        assert_eq!(connection.exchanges(), [], "{:?}", bytes.escape_ascii().to_string());
    }
}

#[test]
fn events_are_told_from_heartbeats() {
    let connection = Connection::whole(GET, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut sequence = next(&connection, RESPONSE);
    let mut now_ns = 1_000_000_000;
    let mut chunk = |text: &str| {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        now_ns += 1_000_000_000;
        connection.segment(RESPONSE, sequence, chunk.as_bytes(), now_ns);
        sequence += u32::try_from(chunk.len()).unwrap();
    };
    chunk(": ping\n\n");
    chunk(":\n\n");
    chunk("\n");
    chunk(&format!(":{}\n\n", " ".repeat(2048)));
    chunk("event: ping\ndata: {}\n\n");
    assert_eq!(connection.state().exchange.event_ns, 0);
    chunk(": ping\n\ndata: 1\n\n");
    assert_eq!(connection.state().exchange.event_ns, 7_000_000_000);
    chunk("data: 2\n\n");
    connection.segment(RESPONSE, sequence, b"0\r\n\r\n", 30_000_000_000);
    let [exchange] = connection.exchanges()[..] else { panic!("{:?}", connection.exchanges()) };
    assert_eq!((exchange.sent, exchange.body, exchange.stalls), (2, Body::Sse as u8, 0));
    assert_eq!(
        (exchange.last_event_ns, exchange.gap_sum_ns, exchange.gaps[11]),
        (8_000_000_000, 1_000_000_000, 1)
    );
    assert_eq!(connection.lost(), 0);
}

#[test]
fn how_a_stream_ended_is_told() {
    let begun =
        || Connection::whole(GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let outcome = |connection: &Connection| {
        let exchanges = connection.exchanges();
        assert_eq!(exchanges.len(), 1);
        (exchanges[0].outcome, exchanges[0].ended_ns)
    };
    let left = begun();
    left.fin(REQUEST, 5);
    left.closed(Outcome::ClientAbort, 9);
    assert_eq!(outcome(&left), (Outcome::ClientAbort as u8, 5));
    let killed = begun();
    killed.fin(RESPONSE, 6);
    killed.closed(Outcome::ServerAbort, 9);
    assert_eq!(outcome(&killed), (Outcome::ServerAbort as u8, 6));
    let reset = begun();
    reset.closed(Outcome::Reset, 7);
    assert_eq!(outcome(&reset), (Outcome::Reset as u8, 7));
    let half_closed = begun();
    half_closed.fin(REQUEST, 5);
    half_closed.segment(RESPONSE, next(&half_closed, RESPONSE), b"0\r\n\r\n", 8);
    half_closed.fin(RESPONSE, 9);
    assert_eq!(outcome(&half_closed), (Outcome::Completed as u8, 8));
    let unanswered = Connection::whole(GET, b"");
    unanswered.closed(Outcome::ClientAbort, 4);
    assert_eq!(unanswered.exchanges()[0].status, 0);
}

#[test]
fn messages_of_a_websocket_are_counted() {
    let connection = Connection::whole(
        b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n",
    );
    let masked = |kind: u8, payload: &[u8]| {
        let mut frame = vec![kind, 0x80 | u8::try_from(payload.len()).unwrap(), 1, 2, 3, 4];
        frame.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    };
    let mut large = vec![0x82, 126, 0x10, 0x00];
    large.extend([0; 4096]);
    let client = [
        masked(0x81, b"hello"),
        masked(0x89, b"ping"),
        masked(0x01, b"a"),
        masked(0x8a, b""),
        masked(0x80, b"b"),
        masked(0xc1, b"deflated"),
        masked(0x88, &[0x03, 0xe9, b'x']),
    ]
    .concat();
    let server = [vec![0x81, 2, b'h', b'i'], large, vec![0x8a, 0], vec![0x88, 2, 0x03, 0xe8]].concat();
    connection.segment(REQUEST, next(&connection, REQUEST), &client, 5);
    assert_eq!(connection.exchanges(), []);
    connection.segment(RESPONSE, next(&connection, RESPONSE), &server, 6);
    let [exchange] = connection.exchanges()[..] else { panic!("{:?}", connection.exchanges()) };
    assert_eq!((exchange.received, exchange.sent), (3, 2));
    assert_eq!((exchange.request_bytes, exchange.response_bytes), (5 + 1 + 1 + 8, 2 + 4096));
    assert_eq!(
        (exchange.close_code, exchange.status, exchange.outcome),
        (1001, 101, Outcome::Completed as u8)
    );
    assert_eq!(connection.lost(), 0);
}
