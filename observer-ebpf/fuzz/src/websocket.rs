//! WebSocket frames of both sides against a plain decoder, whole and cut in two.
//! Input: where to cut, how many bytes are the client's, those, then the server's.

use observer_ebpf::{
    framer::{REQUEST, RESPONSE},
    host::Connection,
    records::exchange::Outcome,
};

use crate::{check, decoders, number, send};

/// Fails if messages, their bytes or the close code are others than the decoder's.
pub fn websocket(mut bytes: &[u8]) {
    let (cut, client) = (number(&mut bytes), number(&mut bytes));
    // More frames than one segment may have steps are counted as lost: none here is that long.
    let bytes = &bytes[..bytes.len().min(2000)];
    let (received, sent) = bytes.split_at(client.min(bytes.len()));
    let (client, server) = (decoders::websocket(received, true), decoders::websocket(sent, false));
    for cut in [0, cut] {
        let connection = Connection::default();
        send(&connection, REQUEST, b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 0);
        send(&connection, RESPONSE, b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", 0);
        send(&connection, REQUEST, received, cut);
        send(&connection, RESPONSE, sent, cut);
        let ended = connection.exchanges().len();
        assert_eq!(ended, usize::from(client.closed && server.closed), "exchanges that ended");
        connection.closed(Outcome::Reset, 9);
        check(&connection);
        let [found] = connection.exchanges()[..] else { panic!("not one exchange") };
        assert_eq!((found.received, found.request_bytes), (client.messages, client.bytes), "of the client");
        assert_eq!((found.sent, found.response_bytes), (server.messages, server.bytes), "of the server");
        let code = if client.close_code == 0 { server.close_code } else { client.close_code };
        assert_eq!(found.close_code, code, "close code");
        assert_eq!(connection.lost(), u32::from(client.broken) + u32::from(server.broken), "lost");
    }
}
