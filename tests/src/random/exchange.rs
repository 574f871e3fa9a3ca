//! One exchange: what it is made of, the bytes of both messages, and what it counts as.
//! Its route begins with the name of its kind, so that a difference tells of which kind it is.

use super::{
    conversation::Builder,
    kinds::Kind,
    message::{Body, Content, Framing, Spelling, head},
    tally::{Cell, Counts},
};

/// Statuses of answers that may have a body.
const STATUSES: [u16; 16] = [200, 200, 200, 200, 201, 202, 206, 302, 400, 403, 404, 409, 418, 429, 500, 503];

/// Methods of most kinds.
pub(super) const METHODS: [&str; 2] = ["GET", "POST"];
/// Methods of some.
pub(super) const ALL_METHODS: [&str; 8] =
    ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"];

/// What it is made of.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    /// Of which kind.
    pub(super) kind: Kind,
    /// The method, as it is sent.
    pub(super) method: &'static str,
    /// What the path says behind the kind: `{number}` and `{uuid}` are filled.
    pub(super) path: &'static str,
    /// Three digits.
    pub(super) status: u16,
    /// The request's body.
    pub(super) sent: Body,
    /// The answer's.
    pub(super) answered: Body,
    /// What makes it a stream.
    pub(super) stream: Option<Stream>,
    /// Further fields of the request.
    pub(super) request_fields: Vec<(&'static str, String)>,
    /// Further fields of the answer.
    pub(super) response_fields: Vec<(&'static str, String)>,
    /// Spaces in both heads.
    pub(super) spelling: Spelling,
    /// The minor version.
    pub(super) minor: u8,
}

/// An answer that is a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    /// The label `kind`.
    pub(super) kind: &'static str,
    /// The media type.
    pub(super) media: &'static str,
    /// How many of its chunks hold an event.
    pub(super) events: u64,
}

/// The bytes of an exchange.
pub(super) struct Messages {
    /// The request's head.
    pub(super) request: Vec<u8>,
    /// The request's body.
    pub(super) sent: Vec<u8>,
    /// The answer.
    pub(super) response: Vec<u8>,
}

impl Messages {
    /// All of the request.
    pub(super) fn asked(&self) -> Vec<u8> {
        [self.request.as_slice(), &self.sent].concat()
    }
}

impl Exchange {
    /// One without bodies, of a path and a status at random.
    pub(super) fn new(kind: Kind, methods: &[&'static str], builder: &mut Builder) -> Self {
        let paths = ["{number}", "items", "{uuid}/messages"];
        Self {
            kind,
            method: builder.rng.choice(methods).copied().unwrap_or("GET"),
            path: builder.rng.choice(paths).unwrap_or("items"),
            status: builder.rng.choice(STATUSES).unwrap_or(200),
            sent: Body::NONE,
            answered: Body::NONE,
            stream: None,
            request_fields: Vec::new(),
            response_fields: Vec::new(),
            spelling: Spelling::default(),
            minor: 1,
        }
    }

    /// With a request's body of known length, where the method has one.
    pub(super) fn with_upload(mut self, most: usize, builder: &mut Builder) -> Self {
        if matches!(self.method, "POST" | "PUT" | "PATCH" | "PROPFIND") {
            let length = builder.size(most);
            self.sent = Body::of(Framing::Length, &[length], Content::Letters, &mut builder.rng);
        }
        self
    }

    /// Its bytes; it is entered into the tally.
    pub(super) fn messages(&self, builder: &mut Builder) -> Messages {
        let (messages, cell) = self.unentered(builder);
        builder.enter(cell, self.counts());
        messages
    }

    /// Its bytes, and what it counts as.
    pub(super) fn unentered(&self, builder: &mut Builder) -> (Messages, Cell) {
        let number = builder.rng.u32(1..100_000);
        let path = self
            .path
            .replace("{number}", &number.to_string())
            .replace("{uuid}", &format!("3f2504e0-4f89-41d3-9a0c-{number:012x}"));
        let name = self.kind.name();
        // In one of some: the form that proxies get (RFC 9112 section 3.2.2).
        let host = if builder.once_in(30) { "http://chat.example" } else { "" };
        let target = format!("{host}/{name}/{path}?c={}&n={number}", builder.number());
        (self.of_target(&target, builder), self.cell(&format!("/{name}/{}", self.path)))
    }

    /// Its bytes with this request target, whatever that counts as.
    pub(super) fn of_target(&self, target: &str, builder: &mut Builder) -> Messages {
        let Self { method, status, sent, answered, stream, spelling, minor, .. } = self;
        let mut asked = vec![("Host", "chat.example".to_owned()), ("Accept", "*/*".to_owned())];
        asked.extend(self.request_fields.iter().cloned());
        let mut told = vec![("Server", "random".to_owned())];
        told.extend(self.response_fields.iter().cloned());
        told.extend(stream.iter().map(|stream| ("Content-Type", stream.media.to_owned())));
        let first_line = format!("{method} {target} HTTP/1.{minor}");
        let request = head(&first_line, &asked, sent, *spelling, &mut builder.rng);
        let first_line = format!("HTTP/1.{minor} {status} Whatever");
        let mut response = head(&first_line, &told, answered, *spelling, &mut builder.rng);
        answered.write(&mut builder.rng, &mut response);
        let mut body = Vec::new();
        sent.write(&mut builder.rng, &mut body);
        Messages { request, sent: body, response }
    }

    /// What it counts as.
    pub(super) fn cell(&self, route: &str) -> Cell {
        let method = if self.method == "PROPFIND" { "other" } else { self.method };
        // What is not there is one route, whatever was asked for.
        let route = if self.status == 404 { "{unmatched}" } else { route };
        Cell {
            method: method.to_owned(),
            route: route.to_owned(),
            status: self.status,
            stream: self.stream.map(|stream| stream.kind.to_owned()),
        }
    }

    /// What there is of it.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            exchanges: 1,
            request_bytes: self.sent.length() as u64,
            response_bytes: self.answered.length() as u64,
            sent: self.stream.map_or(0, |stream| stream.events),
            received: 0,
        }
    }
}

impl Builder {
    /// The length of a body: often none, seldom much.
    pub(super) fn size(&mut self, most: usize) -> usize {
        if self.once_in(10) { 0 } else { self.logarithmic(1, most) }
    }
}
