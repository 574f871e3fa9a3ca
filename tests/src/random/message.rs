//! The bytes of requests and responses: heads in any order, spelling and spacing, and bodies in every framing.
//! Framing: RFC 9112 sections 5 to 7; blanks around values: RFC 9110 section 5.6.3.

use std::sync::LazyLock;

use fastrand::Rng;

/// Bytes that bodies are taken from.
const CONTENT: usize = 1 << 18;

/// What bodies are made of: letters, of which no message begins.
static LETTERS: LazyLock<Vec<u8>> = LazyLock::new(|| (b'a'..=b'z').cycle().take(CONTENT).collect());

/// What bodies are made of that read like messages.
static MESSAGES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = "GET /deceit HTTP/1.1\r\nHost: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    text.bytes().cycle().take(CONTENT).collect()
});

/// How a head is spelled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spelling {
    /// The most blanks on either side of a value.
    pub(super) blanks: usize,
}

/// What a body is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Content {
    /// Letters.
    #[default]
    Letters,
    /// What reads like messages, from such a beginning on.
    Messages,
}

impl Content {
    /// Adds `length` bytes of it, at most 256 KiB.
    pub(super) fn write(self, length: usize, rng: &mut Rng, bytes: &mut Vec<u8>) {
        let all = match self {
            Self::Letters => &LETTERS,
            Self::Messages => &MESSAGES,
        };
        // Its beginning is what a framer must not take for a message's.
        let from = if self == Self::Messages && rng.bool() {
            0
        } else {
            rng.usize(0..=all.len() - length.min(all.len()))
        };
        bytes.extend_from_slice(all.get(from..from + length).unwrap_or_default());
    }
}

/// What stands beside chunks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decoration {
    /// Extensions, and noughts before sizes and capitals in them.
    pub(super) extensions: bool,
    /// Fields of the trailer.
    pub(super) trailers: usize,
}

/// How long a body is, and how that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, and nothing said of it.
    None,
    /// So many bytes are announced, and none come.
    Announced(usize),
    /// The head tells the length.
    Length,
    /// Each part is a chunk.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// A message's body.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// How its length is said.
    pub(super) framing: Framing,
    /// Its parts; none is empty where they are chunks.
    pub(super) parts: Vec<Vec<u8>>,
    /// What stands beside chunks.
    pub(super) decoration: Decoration,
}

impl Body {
    /// None.
    pub(super) const NONE: Self = Self {
        framing: Framing::None,
        parts: Vec::new(),
        decoration: Decoration { extensions: false, trailers: 0 },
    };

    /// One of parts of these lengths.
    pub(super) fn of(framing: Framing, lengths: &[usize], content: Content, rng: &mut Rng) -> Self {
        let part = |length: &usize| {
            let mut part = Vec::with_capacity(*length);
            content.write(*length, rng, &mut part);
            part
        };
        Self { framing, parts: lengths.iter().map(part).collect(), decoration: Decoration::default() }
    }

    /// One whose parts have no content but a length.
    pub(super) fn announced(length: usize) -> Self {
        Self { framing: Framing::Announced(length), ..Self::NONE }
    }

    /// Bytes without framing.
    pub(super) fn length(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }

    /// The field that says how long it is.
    fn field(&self) -> Option<(&'static str, String)> {
        match self.framing {
            Framing::None | Framing::UntilClose => None,
            Framing::Announced(length) => Some(("Content-Length", length.to_string())),
            Framing::Length => Some(("Content-Length", self.length().to_string())),
            Framing::Chunked => Some(("Transfer-Encoding", "chunked".to_owned())),
        }
    }

    /// As it is sent.
    pub(super) fn write(&self, rng: &mut Rng, bytes: &mut Vec<u8>) {
        if self.framing != Framing::Chunked {
            self.parts.iter().for_each(|part| bytes.extend_from_slice(part));
            return;
        }
        let Decoration { extensions, trailers } = self.decoration;
        for part in &self.parts {
            let mut size = if extensions && rng.bool() {
                format!("{:X}", part.len())
            } else {
                format!("{:x}", part.len())
            };
            if extensions {
                size.insert_str(0, rng.choice(["", "0", "0000"]).unwrap_or_default());
                size.push_str(rng.choice(["", ";a", "; name=value", ";q=\"a;b\"", "  "]).unwrap_or_default());
            }
            bytes.extend_from_slice(size.as_bytes());
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(if extensions {
            rng.choice([&b"0\r\n"[..], b"000\r\n", b"0;last\r\n"]).unwrap_or(b"0\r\n")
        } else {
            b"0\r\n"
        });
        for number in 0..trailers {
            bytes.extend_from_slice(format!("X-Sum-{number}: {}\r\n", rng.u64(..)).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
    }
}

/// A message: its first line, fields in any order, and its body's framing.
pub(super) fn head(
    first_line: &str,
    fields: &[(&'static str, String)],
    body: &Body,
    spelling: Spelling,
    rng: &mut Rng,
) -> Vec<u8> {
    let mut fields: Vec<_> = fields.to_vec();
    fields.extend(body.field());
    rng.shuffle(&mut fields);
    let mut bytes = format!("{first_line}\r\n").into_bytes();
    for (name, value) in fields {
        match rng.u8(0..8) {
            0 => bytes.extend(name.to_ascii_lowercase().bytes()),
            1 => bytes.extend(name.to_ascii_uppercase().bytes()),
            _ => bytes.extend(name.bytes()),
        }
        bytes.push(b':');
        blanks(spelling, &mut bytes, rng);
        bytes.extend_from_slice(value.as_bytes());
        if spelling.blanks > 1 {
            blanks(spelling, &mut bytes, rng);
        }
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Blanks before or behind a value.
fn blanks(spelling: Spelling, bytes: &mut Vec<u8>, rng: &mut Rng) {
    match spelling.blanks {
        0 => bytes.push(b' '),
        most => {
            for _ in 0..rng.usize(0..=most) {
                bytes.push(if rng.u8(0..4) == 0 { b'\t' } else { b' ' });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_framed_as_it_says() {
        let mut rng = Rng::with_seed(1);
        let written = |body: &Body, rng: &mut Rng| {
            let mut bytes = head("GET / HTTP/1.1", &[], body, Spelling::default(), rng);
            body.write(rng, &mut bytes);
            String::from_utf8(bytes).unwrap().to_ascii_lowercase()
        };
        let mut body = Body::of(Framing::Chunked, &[3, 20], Content::Letters, &mut rng);
        let text = written(&body, &mut rng);
        assert!(text.starts_with("get / http/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\n"), "{text}");
        assert!(text.contains("\r\n14\r\n") && text.ends_with("\r\n0\r\n\r\n"), "{text}");
        body.decoration.trailers = 2;
        assert!(written(&body, &mut rng).contains("\r\n0\r\nx-sum-0: "));
        body.framing = Framing::Length;
        let text = written(&body, &mut rng);
        assert!(text.contains("content-length: 23\r\n") && text.len() == 16 + 20 + 2 + 23, "{text}");
        assert!(written(&Body::announced(7), &mut rng).ends_with("content-length: 7\r\n\r\n"));
    }

    #[test]
    fn blanks_are_as_many_as_may_be() {
        let mut rng = Rng::with_seed(1);
        let mut most = 0;
        for _ in 0..100 {
            let fields = [("A", "b".to_owned())];
            let bytes = head("X", &fields, &Body::NONE, Spelling { blanks: 20 }, &mut rng);
            most = most.max(bytes.iter().filter(|byte| byte.is_ascii_whitespace()).count());
        }
        assert!(most > 30, "{most}");
    }
}
