//! Kinds of traffic, each with how often it comes; a run may be made of any of them, so that a fault is narrowed to one.
//! As text: `plain,pipeline=3`, and `-flood` takes one away from all.

use std::{fmt, str::FromStr};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bodies whose length is said first.
    Plain,
    /// Bodies in chunks of 1 byte to 64 KiB.
    Chunked,
    /// Bodies of thousands of chunks of one byte.
    Flood,
    /// Chunks with extensions, odd spelling of sizes, trailers.
    Decorated,
    /// Server-sent events, with comments between them.
    Sse,
    /// Events that end in `\r`, or say only `id:` or `retry:`, and comments beside data.
    SseCorners,
    /// A line of JSON per chunk, with blank ones between them.
    Ndjson,
    /// Streams that are not chunked: of known length, or until the connection is closed.
    Unframed,
    /// 103 Early Hints before the answer.
    Hints,
    /// A body that waits for 100 Continue.
    Continued,
    /// 401 in place of 100 Continue; the body is never sent.
    Refused,
    /// 401 in place of 100 Continue; the body is sent all the same.
    RefusedLate,
    /// HEAD, whose answers tell a length and have no body.
    Head,
    /// 204.
    NoContent,
    /// 304, which may tell a length and has no body.
    NotModified,
    /// Heads of 8 KiB.
    Cookies,
    /// Any number of blanks around the values of fields.
    Blanks,
    /// Bodies that read like messages.
    Deceptive,
    /// `OPTIONS *`.
    Star,
    /// Up to 64 requests before the first answer.
    Pipeline,
    /// Up to 200.
    LongPipeline,
    /// A body that ends with its connection, also by HTTP/1.0.
    UntilClose,
    /// A client that closes its direction and waits for the answer.
    HalfClose,
    /// A WebSocket of some messages.
    WebSocket,
    /// A WebSocket of up to 5,000 messages in a burst.
    WebSocketBurst,
}

/// Name and weight of each kind, in the order of [`Kind`].
const KINDS: [(Kind, &str, u32); 25] = [
    (Kind::Plain, "plain", 30),
    (Kind::Chunked, "chunked", 20),
    (Kind::Flood, "flood", 1),
    (Kind::Decorated, "decorated", 6),
    (Kind::Sse, "sse", 8),
    (Kind::SseCorners, "sse-corners", 4),
    (Kind::Ndjson, "ndjson", 6),
    (Kind::Unframed, "unframed", 2),
    (Kind::Hints, "hints", 4),
    (Kind::Continued, "continued", 4),
    (Kind::Refused, "refused", 2),
    (Kind::RefusedLate, "refused-late", 2),
    (Kind::Head, "head", 5),
    (Kind::NoContent, "no-content", 5),
    (Kind::NotModified, "not-modified", 5),
    (Kind::Cookies, "cookies", 4),
    (Kind::Blanks, "blanks", 5),
    (Kind::Deceptive, "deceptive", 5),
    (Kind::Star, "star", 1),
    (Kind::Pipeline, "pipeline", 5),
    (Kind::LongPipeline, "long-pipeline", 1),
    (Kind::UntilClose, "until-close", 2),
    (Kind::HalfClose, "half-close", 2),
    (Kind::WebSocket, "websocket", 2),
    (Kind::WebSocketBurst, "websocket-burst", 1),
];

impl Kind {
    /// Its name, and the first word of its routes.
    pub const fn name(self) -> &'static str {
        KINDS[self as usize].1
    }

    /// Whether the connection ends with it.
    pub const fn is_last(self) -> bool {
        matches!(self, Self::UntilClose | Self::HalfClose) || self.is_websocket()
    }

    /// Whether it is a WebSocket.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::WebSocketBurst)
    }
}

/// How often each kind comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds([u32; KINDS.len()]);

impl Kinds {
    /// All, as often as they come by default.
    pub fn all() -> Self {
        Self(KINDS.map(|(.., weight)| weight))
    }

    /// All but the WebSockets.
    pub fn without_websockets() -> Self {
        KINDS
            .iter()
            .filter(|(kind, ..)| kind.is_websocket())
            .fold(Self::all(), |kinds, (kind, ..)| kinds.without(*kind))
    }

    /// Those of these that come, each alone.
    pub fn each(self) -> impl Iterator<Item = (Kind, Self)> {
        KINDS.iter().filter(move |(kind, ..)| self.0[*kind as usize] > 0).map(|(kind, ..)| {
            let mut alone = [0; KINDS.len()];
            alone[*kind as usize] = 1;
            (*kind, Self(alone))
        })
    }

    /// The same without one.
    #[must_use]
    pub fn without(mut self, kind: Kind) -> Self {
        self.0[kind as usize] = 0;
        self
    }

    /// One of them at random, of those that end a connection or of the others; none where there is none.
    pub fn choose(self, last: bool, rng: &mut Rng) -> Option<Kind> {
        let of = || KINDS.iter().filter(move |(kind, ..)| kind.is_last() == last);
        let all: u32 = of().map(|(kind, ..)| self.0[*kind as usize]).sum();
        let mut left = if all == 0 { return None } else { rng.u32(0..all) };
        of().find(|(kind, ..)| {
            let weight = self.0[*kind as usize];
            let chosen = left < weight;
            left = left.saturating_sub(weight);
            chosen
        })
        .map(|(kind, ..)| *kind)
    }

    /// How often those come that end a connection, of all.
    pub fn share_of_last(self) -> f64 {
        let sum = |last: bool| -> u32 {
            KINDS
                .iter()
                .filter(|(kind, ..)| !last || kind.is_last())
                .map(|(kind, ..)| self.0[*kind as usize])
                .sum()
        };
        f64::from(sum(true)) / f64::from(sum(false).max(1))
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::all() {
            return formatter.write_str("all");
        }
        let on = KINDS.iter().filter(|(kind, ..)| self.0[*kind as usize] > 0);
        let text: Vec<String> =
            on.map(|(kind, name, _)| format!("{name}={}", self.0[*kind as usize])).collect();
        formatter.write_str(&text.join(","))
    }
}

impl FromStr for Kinds {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split(',').collect();
        // What only takes away takes away from all.
        let mut kinds =
            if words.iter().all(|word| word.starts_with('-')) { Self::all() } else { Self([0; KINDS.len()]) };
        for word in words {
            if word == "all" {
                kinds = Self::all();
                continue;
            }
            let (taken, word) = word.strip_prefix('-').map_or((false, word), |word| (true, word));
            let (name, weight) =
                word.split_once('=').map_or((word, None), |(name, weight)| (name, Some(weight)));
            let found = KINDS.iter().find(|(_, own, _)| *own == name);
            let (kind, _, usual) = found.with_context(|| {
                let names = KINDS.map(|(_, name, _)| name).join(", ");
                format!("there is no kind `{name}`; there are {names}")
            })?;
            let weight =
                weight.map_or(Ok(*usual), str::parse).with_context(|| format!("not a weight: {word}"))?;
            kinds.0[*kind as usize] = if taken { 0 } else { weight };
        }
        ensure!(kinds.0.iter().any(|weight| *weight > 0), "no kind is left of `{text}`");
        Ok(kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for (index, (kind, ..)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, index);
        }
        for text in ["all", "plain=30", "plain=2,websocket-burst=7"] {
            assert_eq!(text.parse::<Kinds>().unwrap().to_string(), text);
        }
        assert_eq!("-flood".parse::<Kinds>().unwrap(), Kinds::all().without(Kind::Flood));
        assert_eq!("all,-flood".parse::<Kinds>().unwrap(), Kinds::all().without(Kind::Flood));
        for wrong in ["", "plane", "plain=x", "plain,-plain"] {
            assert!(wrong.parse::<Kinds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_chosen_is_on_and_where_nothing_is_nothing_is_chosen() {
        let mut rng = Rng::with_seed(1);
        let kinds: Kinds = "plain,flood,half-close".parse().unwrap();
        for _ in 0..1000 {
            assert!(matches!(kinds.choose(false, &mut rng), Some(Kind::Plain | Kind::Flood)));
            assert_eq!(kinds.choose(true, &mut rng), Some(Kind::HalfClose));
        }
        assert_eq!("plain".parse::<Kinds>().unwrap().choose(true, &mut rng), None);
        assert_eq!(kinds.each().count(), 3);
    }
}
