//! Exchanges as the kernel half would send them, for tests.
//! Times are given in milliseconds after [`STARTED`].

use observer_ebpf::records::exchange::{
    AHEAD, Body, EXCHANGE, Exchange, METHODS, Outcome, PATH_BYTES, RequestAhead,
};

/// When every exchange here begins, in nanoseconds.
pub(crate) const STARTED: u64 = 1_000_000_000_000;

/// A time of the kernel's clock.
pub(crate) fn at(milliseconds: u64) -> u64 {
    STARTED + milliseconds * 1_000_000
}

/// A `GET /` of target 1 that was answered with 200 after 20 ms and over after 50 ms.
pub(crate) fn exchange() -> Exchange {
    let mut path = [0; PATH_BYTES];
    path[0] = b'/';
    Exchange {
        kind: EXCHANGE,
        target: 1,
        id: 77,
        started_ns: STARTED,
        request_ns: at(1),
        response_ns: at(20),
        event_ns: at(30),
        last_event_ns: at(40),
        ended_ns: at(50),
        request_bytes: 100,
        response_bytes: 2000,
        sent: 1,
        received: 0,
        index: 0,
        in_flight: 0,
        status: 200,
        flags: 0,
        close_code: 0,
        path_length: 1,
        method: 0,
        direction: 0,
        body: Body::Known as u8,
        outcome: Outcome::Completed as u8,
        port: 0,
        padding: 0,
        path,
        gaps: [0; observer_ebpf::records::histogram::GAP_NS.len() + 1],
        stalls: 0,
        gap_sum_ns: 0,
    }
}

/// The exchange on another connection.
pub(crate) fn numbered(id: u64) -> Exchange {
    Exchange { id, ..exchange() }
}

/// The exchange for another method and path.
pub(crate) fn asking(method: &str, path: &str, of: &Exchange) -> Exchange {
    let mut bytes = [0; PATH_BYTES];
    bytes[..path.len()].copy_from_slice(path.as_bytes());
    let path_length = u16::try_from(path.len()).unwrap();
    Exchange { method: number(method), path: bytes, path_length, ..*of }
}

/// An exchange whose request was sent ahead, and that request.
pub(crate) fn ahead(of: &Exchange) -> (RequestAhead, Exchange) {
    let Exchange { index, id, started_ns, request_bytes, path_length, method, path, .. } = *of;
    let kind = observer_ebpf::records::exchange::REQUEST_AHEAD;
    let request = RequestAhead {
        kind,
        index,
        id,
        started_ns,
        request_bytes,
        path_length,
        method,
        padding: [0; 5],
        path,
    };
    let rest = Exchange {
        flags: of.flags | AHEAD,
        started_ns: 0,
        request_bytes: 0,
        path_length: 0,
        method: 0,
        path: [0; PATH_BYTES],
        ..*of
    };
    (request, rest)
}

fn number(method: &str) -> u8 {
    let index = METHODS.iter().position(|other| *other == method).unwrap();
    u8::try_from(index).unwrap()
}
