//! Random header fields in every case, with blanks and folds where they may be and where they may not.
//! Together with them goes what they mean, for heads that no other parser takes.

use fastrand::Rng;

use super::{super::decoders::Framing, any_case};

/// Fields of a head, and their meaning.
pub(super) struct Fields {
    /// With the empty line.
    pub(super) bytes: Vec<u8>,
    /// How the body ends.
    pub(super) framing: Framing,
    /// There are more blanks around a length than the framer passes over: it may lose the head.
    pub(super) is_blank: bool,
    /// What the content type is, in small letters; empty without.
    pub(super) content_type: &'static str,
    /// There is a fold.
    pub(super) is_folded: bool,
}

/// Names that are not, or only begin like, those that framing needs.
const OTHERS: [&str; 12] = [
    "Host",
    "Content-Lengths",
    "Content-Security-Policy",
    "X-Content-Length",
    "Transfer-Encodin",
    "Content-Typ",
    "upgrade-insecure-requests",
    "TE",
    "Trailer",
    "Content-Disposition",
    "Sec-WebSocket-Key",
    "a",
];
/// Their values.
const VALUES: [&str; 7] =
    ["", "5", "chunked", "a:b, Content-Length: 5", "\u{e9}\u{fc}", "text/event-stream", "x\ty"];
/// Content types.
const TYPES: [&str; 6] = [
    "text/event-stream",
    "text/event-stream; charset=utf-8",
    "application/x-ndjson",
    "application/json",
    "text/html",
    "text/event",
];

/// Up to `most` blanks.
fn blanks(rng: &mut Rng, most: usize) -> String {
    (0..rng.usize(..=most)).map(|_| if rng.bool() { ' ' } else { '\t' }).collect()
}

/// One line. What a parser must refuse comes rarely.
fn line(rng: &mut Rng, fields: &mut Fields, name: &str, value: &str) {
    let frames = matches!(name, "content-length" | "transfer-encoding");
    let (before, after) = match rng.u8(..30) {
        0 => (rng.usize(..12), rng.usize(..4)),
        _ => (rng.usize(..3), rng.usize(..2)),
    };
    fields.is_blank |= frames && (before > 8 || after > 1);
    let (before, after) = (blanks(rng, before), blanks(rng, after));
    let newline = if rng.u8(..8) == 0 { "\n" } else { "\r\n" };
    let name = any_case(rng, name);
    let text = match rng.u8(..120) {
        0 => {
            fields.framing = if frames { Framing::Ambiguous } else { fields.framing };
            fields.content_type =
                if name.eq_ignore_ascii_case("content-type") { "" } else { fields.content_type };
            format!("{name} :{before}{value}{after}{newline}")
        }
        1 => {
            fields.framing = if frames { Framing::Ambiguous } else { fields.framing };
            fields.is_folded = true;
            format!("{name}:{before}{value}{after}{newline} folded: 7{newline}")
        }
        2 if !frames => format!("{name}:{before}{value}\r{after}\0{newline}"),
        _ => format!("{name}:{before}{value}{after}{newline}"),
    };
    fields.bytes.extend(text.bytes());
}

/// A length or a transfer coding; now and then both or something else.
fn framing(rng: &mut Rng, fields: &mut Fields) {
    let length = rng.u64(..300);
    let digits = format!("{length:0width$}", width = rng.usize(..8));
    let (framing, lines): (_, Vec<(&str, &str)>) = match rng.u8(..32) {
        0..8 => (Framing::Unsaid, vec![]),
        8..18 => (Framing::Length(length), vec![("content-length", &digits)]),
        18..25 => (Framing::Chunked, vec![("transfer-encoding", "Chunked")]),
        25 => (Framing::Chunked, vec![("transfer-encoding", "gzip, chunked")]),
        26 => (Framing::Coded, vec![("transfer-encoding", "gzip")]),
        27 => (Framing::Ambiguous, vec![("content-length", &digits), ("transfer-encoding", "chunked")]),
        28 => (Framing::Ambiguous, vec![("content-length", &digits), ("content-length", "7")]),
        29 => (Framing::Ambiguous, vec![("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
        30 => (
            Framing::Ambiguous,
            vec![("content-length", *rng.choice(&["", "-1", "+1", "1,1", "0x1", "1 1"]).unwrap())],
        ),
        _ => (Framing::Ambiguous, vec![("transfer-encoding", "chunked, gzip")]),
    };
    // A line may have made it ambiguous before.
    fields.framing = framing;
    for (name, value) in lines {
        line(rng, fields, name, value);
        others(rng, fields);
    }
}

/// Lines that do not matter.
fn others(rng: &mut Rng, fields: &mut Fields) {
    for _ in 0..rng.usize(..4) {
        let name = rng.choice(OTHERS).unwrap();
        if rng.u8(..30) == 0 {
            let value = "v".repeat(rng.usize(..900));
            line(rng, fields, name, &value);
        } else {
            let value = rng.choice(VALUES).unwrap();
            line(rng, fields, name, value);
        }
    }
}

/// The fields of one head.
pub(super) fn fields(rng: &mut Rng) -> Fields {
    let mut fields = Fields {
        bytes: vec![],
        framing: Framing::Unsaid,
        is_blank: false,
        content_type: "",
        is_folded: false,
    };
    others(rng, &mut fields);
    if rng.bool() {
        fields.content_type = rng.choice(TYPES).unwrap();
        let value = any_case(rng, fields.content_type);
        line(rng, &mut fields, "content-type", &value);
    }
    framing(rng, &mut fields);
    others(rng, &mut fields);
    fields.bytes.extend(if rng.u8(..8) == 0 { b"\n".as_slice() } else { b"\r\n" });
    fields
}
