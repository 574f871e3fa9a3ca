//! What a turn of each kind is, but for streams and WebSockets: usually one exchange, or a pipeline of them.
//! Interim answers: RFC 9110 section 15.2; expectations: section 10.1.1.

use std::time::Duration;

use super::{
    conversation::Builder,
    exchange::{ALL_METHODS, Exchange, METHODS},
    flow::{CLOSED, End},
    kinds::Kind,
    message::{Body, Content, Decoration, Framing, Spelling},
    streams, websocket,
};

/// Most bytes of most bodies.
const LONG: usize = 1 << 16;
/// Most bytes of the few that are longer.
const VERY_LONG: usize = 1 << 18;
/// Most bytes of bodies in a pipeline.
const SHORT: usize = 2000;

/// One turn of this kind.
pub(super) fn take(builder: &mut Builder, kind: Kind) {
    match kind {
        Kind::Plain | Kind::Cookies | Kind::Blanks => plain(builder, kind),
        Kind::Chunked | Kind::Decorated | Kind::Flood | Kind::Deceptive => chunked(builder, kind),
        Kind::Sse | Kind::SseCorners | Kind::Ndjson | Kind::Unframed => streams::take(builder, kind),
        Kind::Hints => hints(builder),
        Kind::Continued => continued(builder),
        Kind::Refused | Kind::RefusedLate => refused(builder, kind),
        Kind::Head | Kind::NoContent | Kind::NotModified => bodiless(builder, kind),
        Kind::Star => star(builder),
        Kind::Pipeline => pipeline(builder, kind, 2, 64),
        Kind::LongPipeline => pipeline(builder, kind, 65, 200),
        Kind::UntilClose => until_close(builder),
        Kind::HalfClose => half_close(builder),
        Kind::WebSocket => websocket::take(builder, kind, 60),
        Kind::WebSocketBurst => websocket::take(builder, kind, 5000),
    }
}

impl Builder {
    /// The client asks, the server answers.
    pub(super) fn exchange(&mut self, exchange: &Exchange) {
        let messages = exchange.messages(self);
        let Exchange { kind, method, status, .. } = exchange;
        self.tell(
            *kind,
            &format!("{method} → {status}, {} and {} bytes", messages.asked().len(), messages.response.len()),
        );
        self.ask(&messages.asked());
        self.answer(&messages.response);
    }

    /// A body of known length.
    fn body(&mut self, most: usize) -> Body {
        let length = self.size(most);
        Body::of(Framing::Length, &[length], Content::Letters, &mut self.rng)
    }
}

fn plain(builder: &mut Builder, kind: Kind) {
    let methods = if kind == Kind::Plain { &ALL_METHODS[..] } else { &METHODS };
    let most = if builder.once_in(50) { VERY_LONG } else { LONG };
    let mut exchange = Exchange::new(kind, methods, builder).with_upload(most, builder);
    exchange.answered = builder.body(most);
    if kind == Kind::Blanks {
        exchange.spelling = Spelling { blanks: builder.logarithmic(1, 60) };
        if builder.rng.bool() {
            exchange.answered.framing = Framing::Chunked;
            exchange.answered.parts.retain(|part| !part.is_empty());
        }
    }
    if kind == Kind::Cookies {
        let cookie = |name, count: usize| (0..count).map(move |_| (name, "c".repeat(8192 / count)));
        let count = builder.logarithmic(1, 40);
        exchange.request_fields.extend(cookie("Cookie", count));
        if builder.rng.bool() {
            exchange.response_fields.extend(cookie("Set-Cookie", count));
        }
    }
    builder.exchange(&exchange);
}

/// Lengths of chunks, at most 200, and all of them together not much longer than the longest.
fn chunk_lengths(builder: &mut Builder) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut sum = 0;
    let most = builder.logarithmic(1, LONG);
    for _ in 0..builder.logarithmic(0, 200) {
        let length = builder.logarithmic(1, most);
        sum += length;
        if sum > 3 * LONG {
            break;
        }
        lengths.push(length);
    }
    lengths
}

fn chunked(builder: &mut Builder, kind: Kind) {
    let content = if kind == Kind::Deceptive { Content::Messages } else { Content::Letters };
    let body = |builder: &mut Builder| {
        let lengths = if kind == Kind::Flood {
            let longest = builder.rng.choice([1, 1, 1, 16]).unwrap_or(1);
            (0..builder.logarithmic(1000, 20_000)).map(|_| builder.rng.usize(1..=longest)).collect()
        } else {
            chunk_lengths(builder)
        };
        let mut body = Body::of(Framing::Chunked, &lengths, content, &mut builder.rng);
        if kind == Kind::Decorated {
            body.decoration = Decoration { extensions: true, trailers: builder.rng.usize(0..4) };
        }
        if kind == Kind::Deceptive && builder.rng.bool() {
            body.framing = Framing::Length;
        }
        body
    };
    let mut exchange = Exchange::new(kind, &METHODS, builder).with_upload(LONG, builder);
    exchange.answered = body(builder);
    if exchange.method == "POST" && builder.rng.bool() {
        exchange.sent = body(builder);
        if kind == Kind::Flood {
            exchange.answered = builder.body(LONG);
        }
    }
    builder.exchange(&exchange);
}

fn hints(builder: &mut Builder) {
    let mut exchange = Exchange::new(Kind::Hints, &METHODS, builder).with_upload(SHORT, builder);
    exchange.answered = builder.body(LONG);
    let messages = exchange.messages(builder);
    builder.ask(&messages.asked());
    let interim = [
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
    ];
    let count = builder.rng.usize(1..4);
    for _ in 0..count {
        let interim = builder.rng.choice(interim).unwrap_or_default();
        builder.answer(interim.as_bytes());
    }
    builder.answer(&messages.response);
    builder.tell(Kind::Hints, &format!("{count} interim answers"));
}

fn continued(builder: &mut Builder) {
    let mut exchange = Exchange::new(Kind::Continued, &["POST", "PUT"], builder).with_upload(LONG, builder);
    exchange.answered = builder.body(LONG);
    exchange.request_fields.push(("Expect", "100-continue".to_owned()));
    let messages = exchange.messages(builder);
    builder.ask(&messages.request);
    builder.answer(b"HTTP/1.1 100 Continue\r\n\r\n");
    builder.ask(&messages.sent);
    builder.answer(&messages.response);
    builder.tell(Kind::Continued, &format!("{} bytes behind 100 Continue", messages.sent.len()));
}

fn refused(builder: &mut Builder, kind: Kind) {
    let mut exchange = Exchange::new(kind, &["POST", "PUT"], builder);
    exchange.status = 401;
    exchange.answered = builder.body(SHORT);
    let announced = builder.logarithmic(1, LONG);
    exchange.sent = Body::announced(announced);
    exchange.request_fields.push(("Expect", "100-continue".to_owned()));
    let messages = exchange.messages(builder);
    builder.ask(&messages.request);
    builder.answer(&messages.response);
    if kind == Kind::RefusedLate {
        let mut body = Vec::new();
        Content::Letters.write(announced, &mut builder.rng, &mut body);
        builder.ask(&body);
    }
    builder.tell(kind, &format!("401 in place of 100 Continue, {announced} bytes announced"));
}

fn bodiless(builder: &mut Builder, kind: Kind) {
    let (method, status): (&[&str], _) = match kind {
        Kind::Head => (&["HEAD"], 200),
        Kind::NoContent => (&["DELETE", "OPTIONS"], 204),
        _ => (&["GET"], 304),
    };
    let exchange = without_body(builder, kind, method, status);
    builder.exchange(&exchange);
}

/// An exchange whose answer has no body, whatever it announces; 204 does not.
fn without_body(builder: &mut Builder, kind: Kind, methods: &[&'static str], status: u16) -> Exchange {
    let mut exchange = Exchange { status, ..Exchange::new(kind, methods, builder) };
    match builder.rng.u8(0..3) {
        _ if status == 204 => {}
        0 => exchange.answered = Body::announced(builder.logarithmic(0, LONG)),
        1 if exchange.method == "HEAD" => {
            exchange.response_fields.push(("Transfer-Encoding", "chunked".to_owned()));
        }
        _ => {}
    }
    exchange
}

fn star(builder: &mut Builder) {
    if builder.is_new() {
        // The first request names the conversation, and this one cannot.
        let exchange = Exchange {
            status: 200,
            answered: builder.body(SHORT),
            ..Exchange::new(Kind::Star, &["GET"], builder)
        };
        builder.exchange(&exchange);
    }
    let mut exchange = Exchange::new(Kind::Star, &["OPTIONS"], builder);
    (exchange.status, exchange.answered) = (200, builder.body(SHORT));
    let messages = exchange.of_target("*", builder);
    builder.enter(exchange.cell("*"), exchange.counts());
    builder.ask(&messages.asked());
    builder.answer(&messages.response);
    builder.tell(Kind::Star, "OPTIONS *");
}

/// An exchange that may stand in a pipeline: short, and of every framing that does not end a connection.
fn piece(builder: &mut Builder, kind: Kind) -> Exchange {
    match builder.rng.u8(0..10) {
        0 => without_body(builder, kind, &["HEAD"], 200),
        1 => without_body(builder, kind, &["DELETE"], 204),
        2 => without_body(builder, kind, &["GET"], 304),
        3..6 => {
            let mut exchange = Exchange::new(kind, &METHODS, builder).with_upload(SHORT, builder);
            let lengths: Vec<usize> =
                (0..builder.rng.usize(0..5)).map(|_| builder.rng.usize(1..200)).collect();
            exchange.answered = Body::of(Framing::Chunked, &lengths, Content::Letters, &mut builder.rng);
            exchange
        }
        _ => {
            let mut exchange = Exchange::new(kind, &METHODS, builder).with_upload(SHORT, builder);
            exchange.answered = builder.body(SHORT);
            exchange
        }
    }
}

fn pipeline(builder: &mut Builder, kind: Kind, least: usize, most: usize) {
    let count = builder.logarithmic(least, most);
    let at_once = builder.rng.bool();
    let from = builder.server.bytes.len();
    let mut answers = Vec::new();
    for number in 0..count {
        let messages = piece(builder, kind).messages(builder);
        if number == 0 {
            builder.client.say(&messages.asked(), from, Duration::ZERO);
        } else {
            builder.client.go_on(&messages.asked());
        }
        answers.push((messages.response, builder.client.bytes.len()));
    }
    let all = builder.client.bytes.len();
    for (answer, asked) in answers {
        builder.server.say(&answer, if at_once { asked } else { all }, Duration::ZERO);
    }
    let when = if at_once { "each answered at once" } else { "answered when all had come" };
    builder.tell(kind, &format!("{count} requests, {when}"));
}

fn until_close(builder: &mut Builder) {
    let mut exchange = Exchange::new(Kind::UntilClose, &METHODS, builder).with_upload(SHORT, builder);
    if builder.once_in(3) {
        streams::last(&mut exchange, false, builder);
    } else {
        let length = builder.size(LONG);
        exchange.answered = Body::of(Framing::UntilClose, &[length], Content::Letters, &mut builder.rng);
    }
    exchange.minor = builder.rng.u8(0..2);
    if exchange.minor == 1 {
        exchange.response_fields.push(("Connection", "close".to_owned()));
    }
    builder.exchange(&exchange);
    builder.over(End::Other, End::Received(builder.client.bytes.len()));
}

/// Some requests, after which the client closes its direction at once; the server reads to that end and answers then: before
/// it, nobody could tell such a client from one that leaves.
fn half_close(builder: &mut Builder) {
    let from = builder.server.bytes.len();
    let count = if builder.rng.bool() { 1 } else { builder.rng.usize(1..4) };
    let mut answers = Vec::new();
    for number in 1..=count {
        let mut exchange = Exchange::new(Kind::HalfClose, &METHODS, builder).with_upload(SHORT, builder);
        match builder.rng.u8(0..4) {
            side @ (0 | 1) if number == count => streams::last(&mut exchange, side == 0, builder),
            2 => {
                let lengths = chunk_lengths(builder);
                exchange.answered = Body::of(Framing::Chunked, &lengths, Content::Letters, &mut builder.rng);
            }
            _ => exchange.answered = builder.body(LONG),
        }
        let messages = exchange.messages(builder);
        if number == 1 {
            builder.client.say(&messages.asked(), from, Duration::ZERO);
        } else {
            builder.client.go_on(&messages.asked());
        }
        answers.push(messages.response);
    }
    let asked = builder.client.bytes.len();
    let pause = Duration::from_millis(builder.rng.u64(0..20));
    for answer in answers {
        builder.server.say(&answer, CLOSED, pause);
    }
    builder.tell(Kind::HalfClose, &format!("{count} requests, answered {pause:?} behind the client's FIN"));
    builder.over(End::Received(from), End::Received(asked));
}
