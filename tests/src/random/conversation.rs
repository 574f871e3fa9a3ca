//! A connection's conversation, made from a seed and its number alone: what both sides send, and what it counts as.
//! Turns follow each other: each begins when the one before it has been answered to the end.

use std::time::Duration;

use fastrand::Rng;

use super::{
    flow::{Cut, End, Flow, logarithmic},
    kinds::{Kind, Kinds},
    tally::{Cell, Counts, Tally},
    turns,
};

/// Turns of most connections at most, and of those that are kept for long.
const TURNS: usize = 30;
/// The same of connections that are kept for long.
const MANY_TURNS: usize = 200;

/// What conversations are made from.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Of all that is random.
    pub seed: u64,
    /// What they are made of.
    pub kinds: Kinds,
    /// Turns of each that are left out, and behind which turn it ends.
    pub turns: (usize, usize),
}

/// All that happens on a connection.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// What the client sends.
    pub client: Flow,
    /// What the server sends.
    pub server: Flow,
    /// What it counts as.
    pub tally: Tally,
    /// Its turns in words.
    pub turns: Vec<String>,
}

/// A conversation that is being made.
pub(super) struct Builder {
    pub(super) rng: Rng,
    pub(super) client: Flow,
    pub(super) server: Flow,
    number: u64,
    tally: Tally,
    turns: Vec<String>,
    over: bool,
}

impl Mix {
    /// Whole conversations.
    pub const fn new(seed: u64, kinds: Kinds) -> Self {
        Self { seed, kinds, turns: (0, usize::MAX) }
    }

    /// The seed of one conversation.
    pub fn seed_of(&self, number: u64) -> u64 {
        // Neighbours' seeds would give numbers that are alike.
        self.seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// The conversation of that number.
    pub fn conversation(&self, number: u64) -> Conversation {
        let mut rng = Rng::with_seed(self.seed_of(number));
        let mut flow = || Flow { cut: Cut::random(&mut rng), ..Flow::default() };
        let (client, server) = (flow(), flow());
        let (tally, turns) = (Tally::default(), Vec::new());
        let mut builder = Builder { rng, client, server, number, tally, turns, over: false };
        let most = if builder.rng.u8(0..20) == 0 { MANY_TURNS } else { TURNS };
        let count = builder.rng.usize(1..=most);
        for turn in 1..=count.min(self.turns.1) {
            let last = builder.rng.f64() < self.kinds.share_of_last();
            let chosen = self.kinds.choose(last, &mut builder.rng);
            let Some(kind) = chosen.or_else(|| self.kinds.choose(!last, &mut builder.rng)) else { break };
            turns::take(&mut builder, kind);
            let over = builder.over;
            if turn <= self.turns.0 {
                builder.forget();
            }
            if over {
                break;
            }
        }
        builder.finish()
    }
}

impl Builder {
    /// The client says this, once it has all that the server has said so far.
    pub(super) fn ask(&mut self, bytes: &[u8]) {
        self.client.say(bytes, self.server.bytes.len(), Duration::ZERO);
    }

    /// The server says this, once it has all that the client has said so far.
    pub(super) fn answer(&mut self, bytes: &[u8]) {
        self.server.say(bytes, self.client.bytes.len(), Duration::ZERO);
    }

    /// The conversation's number, which its first request carries.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Whether nothing has been asked yet.
    pub(super) const fn is_new(&self) -> bool {
        self.client.bytes.is_empty()
    }

    /// Makes as if nothing had been said yet.
    fn forget(&mut self) {
        for flow in [&mut self.client, &mut self.server] {
            *flow = Flow { cut: flow.cut, ..Flow::default() };
        }
        (self.tally, self.turns, self.over) = (Tally::default(), Vec::new(), false);
    }

    /// Enters an exchange.
    pub(super) fn enter(&mut self, cell: Cell, counts: Counts) {
        self.tally.enter(cell, Counts { exchanges: 1, ..counts });
    }

    /// Says in words what a turn is.
    pub(super) fn tell(&mut self, kind: Kind, text: &str) {
        self.turns.push(format!("{}: {text}", kind.name()));
    }

    /// Nothing follows; this is how both sides close.
    pub(super) fn over(&mut self, client: End, server: End) {
        (self.client.end, self.server.end) = (client, server);
        self.over = true;
    }

    /// Either side closes first, with everything said.
    fn finish(mut self) -> Conversation {
        if !self.over {
            let (asked, answered) = (self.client.bytes.len(), self.server.bytes.len());
            if self.rng.bool() {
                self.over(End::Received(answered), End::Other);
            } else {
                self.over(End::Other, End::Received(asked));
            }
        }
        Conversation { client: self.client, server: self.server, tally: self.tally, turns: self.turns }
    }

    /// A number of any magnitude.
    pub(super) fn logarithmic(&mut self, least: usize, most: usize) -> usize {
        logarithmic(&mut self.rng, least, most)
    }

    /// Whether something that happens once in so many times happens.
    pub(super) fn once_in(&mut self, times: u32) -> bool {
        self.rng.u32(0..times) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_made_of_its_number_and_its_parts_are_its_own() {
        let mix = Mix::new(3, Kinds::all());
        for number in 0..50 {
            let whole = mix.conversation(number);
            let again = mix.conversation(number);
            assert!(whole.client.bytes == again.client.bytes && whole.server.bytes == again.server.bytes);
            assert_eq!(whole.tally, again.tally);
            let first = Mix { turns: (0, 1), ..mix }.conversation(number);
            assert!(whole.client.bytes.starts_with(&first.client.bytes));
            let rest = Mix { turns: (1, usize::MAX), ..mix }.conversation(number);
            assert!(rest.turns.is_empty() || whole.turns.ends_with(&rest.turns), "{:?}", rest.turns);
        }
    }
}
