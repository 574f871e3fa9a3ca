//! Requests that came before the one before them was answered: kept until their exchange follows.
//! In bounded memory, in two generations of which the older is dropped whole: an exchange that is lost leaves its
//! request behind.

use std::{collections::HashMap, mem};

use observer_ebpf::records::exchange::{Exchange, RequestAhead};

/// Requests of a generation.
const GENERATION: usize = 8192;

/// A connection's number and the request's on it.
type Key = (u64, u32);

/// Requests without their exchange.
#[derive(Debug, Default)]
pub struct Ahead {
    young: HashMap<Key, RequestAhead>,
    old: HashMap<Key, RequestAhead>,
}

impl Ahead {
    /// Keeps a request.
    pub fn put(&mut self, request: &RequestAhead) {
        if self.young.len() >= GENERATION {
            mem::swap(&mut self.old, &mut self.young);
            self.young.clear();
        }
        self.young.insert((request.id, request.index), *request);
    }

    /// The request of an exchange that is under way.
    pub fn get(&self, exchange: &Exchange) -> Option<&RequestAhead> {
        let key = (exchange.id, exchange.index);
        self.young.get(&key).or_else(|| self.old.get(&key))
    }

    /// The request of an exchange that has ended.
    pub fn take(&mut self, exchange: &Exchange) -> Option<RequestAhead> {
        let key = (exchange.id, exchange.index);
        self.young.remove(&key).or_else(|| self.old.remove(&key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchanges::fixture::{ahead, asking, exchange};

    #[test]
    fn pipelined_requests_join_by_connection_and_index_in_any_order() {
        let mut kept = Ahead::default();
        let all: Vec<_> = (0..20)
            .map(|index| ahead(&asking("POST", &format!("/n/{index}"), &Exchange { index, ..exchange() })))
            .collect();
        for (request, _) in &all {
            kept.put(request);
        }
        for (request, rest) in all.iter().rev() {
            assert_eq!(kept.get(rest), Some(request));
            assert_eq!(kept.take(rest).as_ref(), Some(request));
            assert_eq!(kept.take(rest), None);
        }
        let (request, rest) = ahead(&exchange());
        kept.put(&request);
        assert_eq!(kept.take(&Exchange { id: 78, ..rest }), None);
        assert_eq!(kept.take(&Exchange { index: 1, ..rest }), None);
    }

    #[test]
    fn requests_whose_exchange_never_comes_are_dropped() {
        let mut kept = Ahead::default();
        let (request, rest) = ahead(&exchange());
        for id in 0..10 * GENERATION as u64 {
            kept.put(&RequestAhead { id, ..request });
            assert!(kept.young.len() + kept.old.len() <= 2 * GENERATION);
        }
        assert_eq!(kept.take(&Exchange { id: 0, ..rest }), None);
        let last = Exchange { id: 10 * GENERATION as u64 - 1, ..rest };
        assert!(kept.take(&last).is_some());
    }
}
