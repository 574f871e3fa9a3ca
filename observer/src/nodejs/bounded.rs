//! Reads executables of containers, which may say anything of themselves, within a bound of memory.
//! A table of a terabyte in a file with a hole of that size would otherwise be read as it is.

use std::{cell::Cell, fs::File, ops::Range};

use object::{ReadCache, ReadRef};

/// Bytes that are read of one executable. What is needed of the largest official ones is 40 MiB.
const MOST: u64 = 256 << 20;

/// A file of which no more than [`MOST`] is read and kept.
pub(crate) struct Bounded {
    cache: ReadCache<File>,
    left: Cell<u64>,
}

impl Bounded {
    pub(crate) fn new(file: File) -> Self {
        Self { cache: ReadCache::new(file), left: Cell::new(MOST) }
    }

    pub(crate) fn into_inner(self) -> File {
        self.cache.into_inner()
    }

    fn take(&self, bytes: u64) -> Result<(), ()> {
        self.left.set(self.left.get().checked_sub(bytes).ok_or(())?);
        Ok(())
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

    /// The cache keeps what it finds, and looks no further than a page.
    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let found = self.cache.read_bytes_at_until(range, delimiter)?;
        self.take(found.len() as u64 + 1)?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
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
}
