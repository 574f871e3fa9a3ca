//! Exchanges as real servers and clients send them, for the tests that cut them in pieces.
//! Shapes by server: Node.js, uvicorn, nginx, Ollama; bodies shortened.

/// Bytes of one connection, in the order of their messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recorded {
    pub(super) name: &'static str,
    pub(super) request: &'static [u8],
    pub(super) response: &'static [u8],
}

pub(super) const RECORDED: &[Recorded] = &[
    Recorded {
        name: "a page of Node.js, and then another",
        request: b"GET /api/user/17?lang=en HTTP/1.1\r\nHost: localhost:3210\r\nUser-Agent: curl/7.88.1\r\n\r\n\
            HEAD / HTTP/1.1\r\nHost: localhost:3210\r\n\r\n",
        response: b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\
            Date: Sat, 21 Nov 2026 10:00:00 GMT\r\nConnection: keep-alive\r\n\r\n{\"ok\":true}\
            HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n",
    },
    Recorded {
        name: "an upload in chunks to uvicorn",
        request: b"\r\nPOST /api/v1/files/ HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n\
            5\r\nhello\r\n1a;note=\"a;b\"\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nx-sum: 1\r\n\r\n",
        response: b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nserver: uvicorn\r\ncontent-length: 2\r\n\r\nok",
    },
    Recorded {
        name: "server-sent events with heartbeats",
        request: b"POST /webapi/chat/openai HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{\"stream\":true",
        response: b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
            8\r\n: ping\n\n\r\n21\r\nid: 1\nevent: text\ndata: \"Hello\"\n\n\r\n3\r\n:\n\n\r\n\
            21\r\nid: 2\nevent: text\ndata: \"World\"\n\n\r\n0\r\n\r\n",
    },
    Recorded {
        name: "lines of JSON of Ollama",
        request: b"POST /api/chat HTTP/1.1\nhost: x\ncontent-length: 2\n\n{}",
        response: b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n\
            a\r\n{\"m\":\"a\"}\n\r\nA\r\n{\"m\":\"b\"}\n\r\n0\r\n\r\n",
    },
    Recorded {
        name: "a WebSocket",
        request: b"GET /ws/socket.io/?EIO=4 HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\
            \x81\x85\x01\x02\x03\x04iglhn\x01\x81\x01\x02\x03\x04`\x89\x80\x01\x02\x03\x04\x80\x81\x01\x02\x03\x04c\
            \x88\x82\x01\x02\x03\x04\x02\xea",
        response: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\
            \x82\x7e\x00\x80aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
            aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x8a\x00\x88\x02\x03\xe8",
    },
    Recorded {
        name: "pipelined requests",
        request: b"GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcDELETE /3 HTTP/1.1\r\n\r\n",
        response: b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx\
            HTTP/1.1 204 No Content\r\n\r\n",
    },
];
