//! Recorded exchanges in every way that segments may carry them: cut anywhere, sent twice, overlapping, out of order.
//! Whatever happens, what is known of an exchange is the same, or it is given up and counted.

use super::{
    recorded::{RECORDED, Recorded},
    summary,
};
use crate::{
    host::{Connection, Record},
    http1::state::{REQUEST, RESPONSE},
    records::exchange::{Body, Exchange},
};

/// What must not depend on how the bytes were cut.
type Known = ((usize, String, u16, u64, u64), (u8, u8, u32, u32, u16), Vec<(u8, u64)>);

fn known(connection: &Connection) -> Vec<Known> {
    let ahead: Vec<_> = connection
        .records()
        .iter()
        .filter_map(|record| match record {
            Record::Ahead(ahead) => Some((ahead.method, ahead.request_bytes)),
            Record::Exchange(_) => None,
        })
        .collect();
    let rest = |exchange: &Exchange| {
        let sent = if exchange.body == Body::Unknown as u8 { 0 } else { exchange.sent };
        (exchange.body, exchange.outcome, sent, exchange.received, exchange.close_code)
    };
    let exchanges = connection.exchanges();
    exchanges.iter().map(|exchange| (summary(exchange), rest(exchange), ahead.clone())).collect()
}

/// Where a recorded connection's sequence numbers begin: they wrap within it.
const START: u32 = u32::MAX - 100;

/// Hands over the request's segments and then the response's, each given by offset and length.
fn play(recorded: &Recorded, requests: &[(usize, usize)], responses: &[(usize, usize)]) -> Connection {
    let connection = Connection::new(START, START);
    for (side, bytes, segments) in
        [(REQUEST, recorded.request, requests), (RESPONSE, recorded.response, responses)]
    {
        // A WebSocket's client speaks once the server has agreed.
        if side == REQUEST && upgrade(recorded).is_some() {
            continue;
        }
        for (offset, length) in segments {
            send(&connection, side, bytes, *offset, *length);
        }
    }
    connection
}

fn send(connection: &Connection, side: u32, bytes: &[u8], offset: usize, length: usize) {
    let sequence = START.wrapping_add(u32::try_from(offset).unwrap());
    connection.segment(side, sequence, &bytes[offset..offset + length], 5);
}

/// Where a recorded WebSocket's heads end.
fn upgrade(recorded: &Recorded) -> Option<(usize, usize)> {
    let end = |bytes: &[u8]| bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    recorded
        .response
        .starts_with(b"HTTP/1.1 101")
        .then(|| (end(recorded.request).unwrap(), end(recorded.response).unwrap()))
}

/// As [`play`], for a WebSocket: the heads are cut too, and the frames follow both.
fn play_websocket(
    recorded: &Recorded,
    heads: (usize, usize),
    requests: &[(usize, usize)],
    responses: &[(usize, usize)],
) -> Connection {
    let connection = Connection::new(START, START);
    let parts = |segments: &[(usize, usize)], head: usize, first: bool| -> Vec<(usize, usize)> {
        let cut = segments.iter().filter_map(|(offset, length)| {
            let (from, to) = if first {
                (*offset, (offset + length).min(head))
            } else {
                ((*offset).max(head), offset + length)
            };
            (from < to).then(|| (from, to - from))
        });
        cut.collect()
    };
    for first in [true, false] {
        for (offset, length) in parts(requests, heads.0, first) {
            send(&connection, REQUEST, recorded.request, offset, length);
        }
        for (offset, length) in parts(responses, heads.1, first) {
            send(&connection, RESPONSE, recorded.response, offset, length);
        }
    }
    connection
}

fn play_any(recorded: &Recorded, requests: &[(usize, usize)], responses: &[(usize, usize)]) -> Connection {
    match upgrade(recorded) {
        Some(heads) => play_websocket(recorded, heads, requests, responses),
        None => play(recorded, requests, responses),
    }
}

/// The expected result, from one segment for each side.
fn expected(recorded: &Recorded) -> Vec<Known> {
    let connection = play_any(recorded, &[(0, recorded.request.len())], &[(0, recorded.response.len())]);
    assert_eq!(connection.lost(), 0, "{}", recorded.name);
    let known = known(&connection);
    assert!(!known.is_empty(), "{}", recorded.name);
    known
}

#[test]
fn every_split_in_two_and_three_gives_the_same() {
    for recorded in RECORDED {
        let expected = expected(recorded);
        let (request, response) = (recorded.request.len(), recorded.response.len());
        for (length, is_request) in [(request, true), (response, false)] {
            for first in 1..length {
                for second in first..length {
                    let cut = [(0, first), (first, second - first), (second, length - second)];
                    let cut: Vec<_> = cut.into_iter().filter(|(_, length)| *length > 0).collect();
                    let connection = if is_request {
                        play_any(recorded, &cut, &[(0, response)])
                    } else {
                        play_any(recorded, &[(0, request)], &cut)
                    };
                    assert_eq!(known(&connection), expected, "{} cut into {cut:?}", recorded.name);
                    assert_eq!(connection.lost(), 0);
                }
            }
        }
    }
}

#[test]
fn every_duplicate_and_overlap_changes_nothing() {
    for recorded in RECORDED {
        let expected = expected(recorded);
        let (request, response) = (recorded.request.len(), recorded.response.len());
        for (length, is_request) in [(request, true), (response, false)] {
            for cut in 1..length {
                for back in 0..=cut {
                    // The second segment begins before the first one's end; then the first comes again.
                    let segments = [(0, cut), (cut - back, length - (cut - back)), (0, cut), (0, length)];
                    let connection = if is_request {
                        play_any(recorded, &segments, &[(0, response)])
                    } else {
                        play_any(recorded, &[(0, request)], &segments)
                    };
                    assert_eq!(known(&connection), expected, "{} as {segments:?}", recorded.name);
                    assert_eq!(connection.lost(), 0);
                }
            }
        }
    }
}

/// Three segments in each order: the same, or given up and counted, never something else.
#[test]
fn any_order_gives_the_same_or_is_counted_as_lost() {
    const ORDERS: [[usize; 3]; 5] = [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for recorded in RECORDED.iter().filter(|recorded| upgrade(recorded).is_none()) {
        let expected = expected(recorded);
        let (request, response) = (recorded.request.len(), recorded.response.len());
        for (length, is_request) in [(request, true), (response, false)] {
            for first in 1..length - 1 {
                for second in (first + 1..length).step_by(3) {
                    let cut = [(0, first), (first, second - first), (second, length - second)];
                    for order in ORDERS {
                        let cut = order.map(|index| cut[index]);
                        let connection = if is_request {
                            play(recorded, &cut, &[(0, response)])
                        } else {
                            play(recorded, &[(0, request)], &cut)
                        };
                        let known = known(&connection);
                        if connection.lost() == 0
                            && [REQUEST, RESPONSE].iter().all(|side| connection.order_of(*side).waiting == 0)
                        {
                            assert_eq!(known, expected, "{} as {cut:?}", recorded.name);
                        }
                        for (index, exchange) in known.iter().enumerate() {
                            assert_eq!(exchange.0.2, expected[index].0.2, "{} as {cut:?}", recorded.name);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_body_with_a_length_and_whole_chunks_come_in_any_order() {
    let head = b"POST /upload HTTP/1.1\r\nContent-Length: 3000\r\n\r\n".as_slice();
    let request = [head, &[b'x'; 3000]].concat();
    let response =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            .as_slice();
    let chunks: Vec<Vec<u8>> = (0..6)
        .map(|number| {
            let text = format!("data: {number}{}\n\n", "y".repeat(number));
            format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
        })
        .chain([b"0\r\n\r\n".to_vec()])
        .collect();
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let connection = Connection::new(START, START);
        let mut order: Vec<usize> = (0..4).collect();
        rng.shuffle(&mut order);
        for part in order {
            let (from, to) = if part == 0 {
                (0, head.len())
            } else {
                (head.len() + (part - 1) * 1000, head.len() + part * 1000)
            };
            send(&connection, REQUEST, &request, from, to - from);
        }
        let mut bytes = response.to_vec();
        let mut places = vec![];
        for chunk in &chunks {
            places.push((bytes.len(), chunk.len()));
            bytes.extend(chunk);
        }
        send(&connection, RESPONSE, &bytes, 0, response.len());
        // No more than the places that intervals have.
        for window in [0..4, 4..7] {
            let mut order: Vec<usize> = window.collect();
            rng.shuffle(&mut order);
            for index in order {
                send(&connection, RESPONSE, &bytes, places[index].0, places[index].1);
            }
        }
        let exchanges = connection.exchanges();
        assert_eq!(exchanges.len(), 1);
        assert_eq!((exchanges[0].request_bytes, exchanges[0].sent, connection.lost()), (3000, 6, 0));
        assert_eq!(exchanges[0].response_bytes, 6 * 9 + 15);
    }
}

#[test]
fn heads_of_64_kib_are_read_to_their_end() {
    let cookie = "c".repeat(64 * 1024);
    let request = format!(
        "GET /big HTTP/1.1\r\nCookie: {cookie}\r\nContent-Length: 3\r\nX: {cookie}\r\n\r\nabcGET /next HTTP/1.1\r\n\r\n"
    );
    let response =
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for size in [200_000, 65_536, 1448, 536, 100, 7] {
        let connection = Connection::new(START, START);
        for (index, part) in request.as_bytes().chunks(size).enumerate() {
            send(&connection, REQUEST, request.as_bytes(), index * size, part.len());
        }
        send(&connection, RESPONSE, response, 0, response.len());
        let known = known(&connection);
        assert_eq!(known.len(), 2, "segments of {size}");
        assert_eq!((known[0].0.1.as_str(), known[0].0.3, connection.lost()), ("/big", 3, 0));
    }
}

#[test]
fn what_was_missed_is_found_again_at_the_next_message() {
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let request = b"GET /a HTTP/1.1\r\n\r\n";
    let connection = Connection::preexisting(500, 900);
    // The rest of a download, and the end of a request.
    connection.segment(RESPONSE, 900, b"ffffffffff", 1);
    connection.segment(REQUEST, 500, b"zzzz", 1);
    connection.segment(REQUEST, 504, request, 2);
    connection.segment(RESPONSE, 910, response, 3);
    assert_eq!(connection.exchanges().len(), 1);
    assert_eq!(connection.lost(), 0);
}

#[test]
fn a_stream_that_was_under_way_is_taken_up() {
    let connection = Connection::preexisting(500, 900);
    connection.segment(RESPONSE, 900, b"data: not a beginning\n\n\r\n", 1);
    connection.segment(RESPONSE, 925, b"c\r\ndata: one!\n\n\r\n", 2);
    connection.segment(RESPONSE, 942, b"c\r\n", 3);
    connection.segment(RESPONSE, 945, b"data: two!\n\n\r\n", 3);
    assert_eq!(connection.state().exchange.sent, 2);
    connection.segment(RESPONSE, 959, b"0\r\n\r\n", 4);
    let exchanges = connection.exchanges();
    assert_eq!(exchanges.len(), 1);
    assert_eq!((exchanges[0].status, exchanges[0].sent, exchanges[0].body), (0, 2, Body::Sse as u8));
    connection.segment(REQUEST, 500, b"GET /a HTTP/1.1\r\n\r\n", 5);
    connection.segment(RESPONSE, 964, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 6);
    assert_eq!(connection.exchanges().len(), 2);
    assert_eq!(connection.exchanges()[1].status, 200);
}

#[test]
fn answers_to_requests_that_were_missed_are_each_a_loss() {
    let request = |number: usize| match number % 3 {
        0 => format!("GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n"),
        1 => format!("HEAD /{number} HTTP/1.1\r\nHost: x\r\n\r\n"),
        _ => format!("POST /{number} HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"),
    };
    let answer = |number: usize| match number % 3 {
        0 => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        1 if number.is_multiple_of(2) => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_owned(),
        1 => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
    };
    let requests: String = (0..90).map(request).collect();
    let answers: String = (0..90).map(answer).collect();
    for size in [1, 7, 100, 100_000] {
        let connection = Connection::new(START, START);
        // The second segment comes last.
        let cut = requests.len() / 4;
        for (offset, length) in [(0, cut), (2 * cut, requests.len() - 2 * cut), (cut, cut)] {
            send(&connection, REQUEST, requests.as_bytes(), offset, length);
        }
        for (index, part) in answers.as_bytes().chunks(size).enumerate() {
            send(&connection, RESPONSE, answers.as_bytes(), index * size, part.len());
        }
        let counted = u32::try_from(connection.exchanges().len()).unwrap();
        assert_eq!(counted + connection.lost(), 90, "{counted} counted, in segments of {size}");
    }
}
