//! Finds the names of functions in a table of names, each with where it begins there.
//! The table is searched for what tells them apart, in one pass; a name within a longer one counts, as linkers share ends.

use std::{io, ops::Range};

use aho_corasick::{AhoCorasick, MatchKind};

use super::elf::Elf;

/// Bytes of the longest name: those that are looked for have some hundreds, of mangled arguments.
const LONGEST: usize = 2048;

/// Names of one function that are taken: V8's have one or two, and their clones.
const MOST: usize = 64;

/// A name that is looked for, in two parts: the search is for the second, which is rare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) before: &'static str,
    pub(super) rare: &'static str,
    /// Whether it may go on.
    pub(super) goes_on: bool,
}

/// Names by where they begin, in that order, each with its position in what was wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names(Vec<(u32, usize)>);

impl Names {
    /// Those of `wanted` in the table of names at `range`. Of a name with a part behind a dot, only clones are taken: a
    /// clone of a function is entered like it, a part of one is not.
    pub(super) fn find(elf: &Elf<'_>, range: Range<u64>, wanted: &[Wanted]) -> io::Result<Self> {
        let rare = wanted.iter().map(|wanted| wanted.rare);
        let search = AhoCorasick::builder().match_kind(MatchKind::Standard).build(rare);
        let search = search.map_err(io::Error::other)?;
        let mut found = Vec::new();
        let mut counts = vec![0; wanted.len()];
        let begin = range.start;
        elf.each_block(range, 2 * LONGEST, |position, block| {
            for hit in search.find_overlapping_iter(block) {
                let index = hit.pattern().as_usize();
                let Wanted { before, goes_on, .. } = wanted[index];
                let Some(start) = hit.start().checked_sub(before.len()) else { continue };
                if &block[start..hit.start()] != before.as_bytes() {
                    continue;
                }
                let rest = &block[hit.end()..block.len().min(hit.end() + LONGEST)];
                let Some(end) = rest.iter().position(|byte| *byte == 0) else { continue };
                if !is_taken(&rest[..end], goes_on) {
                    continue;
                }
                if let Ok(offset) = u32::try_from(position - begin + start as u64)
                    && counts[index] <= MOST
                {
                    counts[index] += 1;
                    found.push((offset, index));
                }
            }
        })?;
        found.sort_unstable();
        // Neighbouring blocks have a part in common; and of two that a name may be, the first holds.
        found.dedup_by_key(|(begin, _)| *begin);
        Ok(Self(found))
    }

    /// What the name that begins at `offset` is.
    pub(super) fn at(&self, offset: u32) -> Option<usize> {
        let index = self.0.binary_search_by_key(&offset, |(begin, _)| *begin).ok()?;
        Some(self.0[index].1)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_taken(rest: &[u8], goes_on: bool) -> bool {
    match rest.iter().position(|byte| *byte == b'.') {
        Some(dot) => (goes_on || dot == 0) && rest[dot + 1..].starts_with(b"constprop"),
        None => goes_on || rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_taken_and_parts_are_not() {
        for (rest, alone, longer) in [
            ("", true, true),
            (".constprop.0", true, true),
            (".part.0", false, false),
            (".cold", false, false),
            ("PKc", false, true),
            ("PKc.constprop.1", false, true),
            ("PKc.isra.0", false, false),
        ] {
            assert_eq!(is_taken(rest.as_bytes(), false), alone, "{rest}");
            assert_eq!(is_taken(rest.as_bytes(), true), longer, "{rest}");
        }
    }
}
