//! Remembers what was looked up lately, in bounded memory: two generations, of which the older is dropped whole.
//! What is asked again within a generation survives, as in an LRU, without a list to keep in order.

use std::{collections::HashMap, mem};

/// Keys of a generation.
const GENERATION: usize = 1024;
/// Longer keys are not remembered.
const LONGEST_KEY: usize = 256;

/// Values by byte strings.
#[derive(Debug)]
pub(super) struct Cache<V> {
    young: HashMap<Box<[u8]>, V>,
    old: HashMap<Box<[u8]>, V>,
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<V: Clone> Cache<V> {
    /// The value of a key, where it was put lately.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// Remembers a value.
    pub(super) fn put(&mut self, key: &[u8], value: V) {
        if key.len() <= LONGEST_KEY {
            self.insert(key.into(), value);
        }
    }

    fn insert(&mut self, key: Box<[u8]>, value: V) {
        if self.young.len() >= GENERATION {
            // Emptied in its place, so that it does not grow again.
            mem::swap(&mut self.old, &mut self.young);
            self.young.clear();
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_two_generations_and_keeps_what_is_asked_for() {
        let mut cache = Cache::default();
        cache.put(b"kept", 0);
        for number in 0..10 * GENERATION {
            cache.put(&number.to_le_bytes(), number);
            assert_eq!(cache.get(b"kept"), Some(0));
            assert!(cache.young.len() + cache.old.len() <= 2 * GENERATION);
        }
        assert_eq!(cache.get(&0_usize.to_le_bytes()), None);
        assert_eq!(cache.get(&(10 * GENERATION - 1).to_le_bytes()), Some(10 * GENERATION - 1));
    }

    #[test]
    fn long_keys_are_not_remembered() {
        let mut cache = Cache::default();
        cache.put(&[b'a'; LONGEST_KEY + 1], 1);
        assert_eq!(cache.get(&[b'a'; LONGEST_KEY + 1]), None);
        cache.put(&[b'a'; LONGEST_KEY], 1);
        assert_eq!(cache.get(&[b'a'; LONGEST_KEY]), Some(1));
    }
}
