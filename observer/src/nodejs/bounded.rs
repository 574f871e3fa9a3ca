//! Reads executables for `observer targets`, which may say anything of themselves, within a bound of memory; names by blocks.
//! A table of a terabyte in a file with a hole of that size would otherwise be read as it is.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    fs::File,
    ops::Range,
};

use object::{ReadCache, ReadRef};

/// Bytes that are read of one executable: headers, and the dynamic symbols' names.
const MOST: u64 = 64 << 20;

/// Bytes of a block of names. The reader's own cache keeps each of 200,000 names apart, for which Node.js took 45 MiB and as
/// many system calls.
const BLOCK: u64 = 256 * 1024;

/// A file of which no more than [`MOST`] is read and kept.
pub(crate) struct Bounded {
    cache: ReadCache<File>,
    left: Cell<u64>,
    /// Where the blocks begin that were read.
    blocks: RefCell<HashSet<u64>>,
}

impl Bounded {
    pub(crate) fn new(file: File) -> Self {
        Self { cache: ReadCache::new(file), left: Cell::new(MOST), blocks: RefCell::default() }
    }

    pub(crate) fn into_inner(self) -> File {
        self.cache.into_inner()
    }

    fn take(&self, bytes: u64) -> Result<(), ()> {
        self.left.set(self.left.get().checked_sub(bytes).ok_or(())?);
        Ok(())
    }

    /// The block that holds `position`, and where it begins.
    fn block(&self, position: u64) -> Result<(u64, &[u8]), ()> {
        let start = position - position % BLOCK;
        let length = BLOCK.min(self.cache.len()?.checked_sub(start).ok_or(())?);
        if self.blocks.borrow_mut().insert(start) {
            self.take(length)?;
        }
        Ok((start, self.cache.read_bytes_at(start, length)?))
    }
}

impl<'a> ReadRef<'a> for &'a Bounded {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.take(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let (start, block) = self.block(range.start)?;
        let inside = |position: u64| usize::try_from(position - start).unwrap_or(usize::MAX);
        let wanted = block.get(inside(range.start)..inside(range.end).min(block.len())).ok_or(())?;
        if let Some(end) = wanted.iter().position(|byte| *byte == delimiter) {
            return Ok(&wanted[..end]);
        }
        // It goes on in the next block; the cache looks no further than a page.
        let found = self.cache.read_bytes_at_until(range, delimiter)?;
        self.take(found.len() as u64 + 1)?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_with_a_huge_hole_is_read_up_to_the_bound() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        let bounded = Bounded::new(file);
        let read = |offset, size| (&bounded).read_bytes_at(offset, size).map(<[u8]>::len);
        assert_eq!(read(0, 1 << 39), Err(()));
        assert_eq!(read(7, 4096), Ok(4096));
        assert_eq!((&bounded).read_bytes_at_until(0..100, 0), Ok(&b""[..]));
        assert_eq!(read(0, MOST - 4096), Err(()), "all of it together");
        assert_eq!((&bounded).len(), Ok(1 << 40));
    }

    #[test]
    fn names_are_found_in_a_block_and_across_two() {
        let mut file = tempfile::tempfile().unwrap();
        let block = usize::try_from(BLOCK).unwrap();
        let mut bytes = vec![b'x'; 2 * block + 10];
        for end in [5, block + 3, 2 * block + 9] {
            bytes[end] = 0;
        }
        file.write_all(&bytes).unwrap();
        let bounded = Bounded::new(file);
        let length = bytes.len() as u64;
        let name = |start: u64| (&bounded).read_bytes_at_until(start..length, 0).map(<[u8]>::len);
        assert_eq!(name(2), Ok(3));
        assert_eq!(name(BLOCK - 4), Ok(7));
        assert_eq!(name(BLOCK + 1), Ok(2));
        assert_eq!(name(2 * BLOCK), Ok(9));
        assert_eq!(name(length), Err(()));
        assert_eq!(name(length + BLOCK), Err(()));
        // The name does not end within its section.
        assert_eq!((&bounded).read_bytes_at_until(10..20, 0), Err(()));
    }
}
