//! Reads executables of containers, which may say anything of themselves: headers, then tables by blocks, never whole.
//! What is read of one file is bounded in bytes and in time, and what is kept is a block; holes are stepped over.

use std::{
    cell::Cell,
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use object::{
    Endianness,
    elf::{
        EM_X86_64, FileHeader64, PF_X, PT_LOAD, ProgramHeader64, Rela64, SHT_DYNSYM, SHT_RELA, SHT_SYMTAB,
        SectionHeader64, Sym64,
    },
    pod::{self, Pod},
    read::elf::FileHeader as _,
};
use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

/// Bytes that are read of one executable. The largest official one of Node.js asks for half of that.
const MOST: u64 = 64 << 20;

/// How long reading one may take.
const WITHIN: Duration = Duration::from_millis(400);

/// Bytes of a block of a table, and of what is kept of a file.
const BLOCK: usize = 256 * 1024;

/// Headers of a kind; a linker makes some tens.
const HEADERS: u16 = 512;

/// What reading an executable may still cost.
#[derive(Debug)]
pub(super) struct Allowance {
    bytes: Cell<u64>,
    until: Instant,
}

impl Allowance {
    /// That of one executable.
    pub(super) fn new() -> Self {
        Self { bytes: Cell::new(MOST), until: Instant::now() + WITHIN }
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        if Instant::now() > self.until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long to read"));
        }
        let left = self.bytes.get().checked_sub(bytes as u64);
        self.bytes.set(left.ok_or_else(|| io::Error::other("there is too much to read of it"))?);
        Ok(())
    }

    /// Bytes that were read.
    pub(super) fn used(&self) -> u64 {
        MOST - self.bytes.get()
    }
}

/// The headers of an executable, and its file.
#[derive(Debug)]
pub(super) struct Elf<'a> {
    file: &'a File,
    allowance: &'a Allowance,
    length: u64,
    endian: Endianness,
    machine: u16,
    segments: Vec<ProgramHeader64<Endianness>>,
    sections: Vec<SectionHeader64<Endianness>>,
}

/// A symbol, as far as it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    /// Where its name begins in the table of names.
    pub(super) name: u32,
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) is_function: bool,
    pub(super) is_defined: bool,
}

/// A table of symbols and that of its names, as places in the file.
#[derive(Clone, Debug)]
pub(super) struct Symbols {
    table: Range<u64>,
    pub(super) names: Range<u64>,
}

impl<'a> Elf<'a> {
    /// `None` where it is no 64-bit ELF file, or has more headers than any linker makes.
    pub(super) fn read(file: &'a File, allowance: &'a Allowance) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let mut elf = Self {
            file,
            allowance,
            length,
            endian: Endianness::Little,
            machine: 0,
            segments: Vec::new(),
            sections: Vec::new(),
        };
        let Some(header) = elf.array::<FileHeader64<Endianness>>(0, 1)?.pop() else { return Ok(None) };
        let Ok(endian) = header.endian() else { return Ok(None) };
        if !header.is_supported() {
            return Ok(None);
        }
        elf.endian = endian;
        elf.machine = header.e_machine.get(endian);
        let (segments, sections) = (header.e_phnum.get(endian), header.e_shnum.get(endian));
        if segments > HEADERS || sections > HEADERS {
            return Ok(None);
        }
        elf.segments = elf.array(header.e_phoff.get(endian), segments.into())?;
        elf.sections = elf.array(header.e_shoff.get(endian), sections.into())?;
        Ok(Some(elf))
    }

    /// Whether its machine code is that of `x86_64`.
    pub(super) fn is_x86_64(&self) -> bool {
        self.machine == EM_X86_64
    }

    /// Symbols for the dynamic linker.
    pub(super) fn dynamic_symbols(&self) -> Option<Symbols> {
        self.symbols(SHT_DYNSYM)
    }

    /// All symbols; none where they were stripped.
    pub(super) fn all_symbols(&self) -> Option<Symbols> {
        self.symbols(SHT_SYMTAB)
    }

    fn symbols(&self, kind: u32) -> Option<Symbols> {
        let section = self.sections.iter().find(|section| section.sh_type.get(self.endian) == kind)?;
        let names = self.sections.get(section.sh_link.get(self.endian) as usize)?;
        Some(Symbols { table: self.range(section)?, names: self.range(names)? })
    }

    /// Where a section is in the file, as far as it is inside.
    fn range(&self, section: &SectionHeader64<Endianness>) -> Option<Range<u64>> {
        let begin = section.sh_offset.get(self.endian);
        let end = begin.checked_add(section.sh_size.get(self.endian))?.min(self.length);
        (begin < end).then_some(begin..end)
    }

    /// Calls `visit` with the index of each symbol and what it is.
    pub(super) fn each_symbol(
        &self,
        symbols: &Symbols,
        mut visit: impl FnMut(u64, Symbol),
    ) -> io::Result<()> {
        let endian = self.endian;
        self.each::<Sym64<Endianness>>(symbols.table.clone(), |index, symbol| {
            visit(
                index,
                Symbol {
                    name: symbol.st_name.get(endian),
                    address: symbol.st_value.get(endian),
                    size: symbol.st_size.get(endian),
                    is_function: symbol.st_type() == object::elf::STT_FUNC,
                    is_defined: symbol.st_shndx.get(endian) != object::elf::SHN_UNDEF,
                },
            );
        })
    }

    /// Calls `visit` with the place and the symbol's index of each relocation that the dynamic linker makes.
    pub(super) fn each_relocation(&self, mut visit: impl FnMut(u64, u64)) -> io::Result<()> {
        let endian = self.endian;
        for section in self.sections.iter().filter(|section| section.sh_type.get(endian) == SHT_RELA) {
            let Some(range) = self.range(section) else { continue };
            self.each::<Rela64<Endianness>>(range, |_, relocation| {
                visit(relocation.r_offset.get(endian), relocation.r_info.get(endian) >> 32);
            })?;
        }
        Ok(())
    }

    /// Where the byte at this address is in the file; `None` also where no code is loaded from there.
    pub(super) fn offset_of_code(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let is_code =
                segment.p_type.get(self.endian) == PT_LOAD && segment.p_flags.get(self.endian) & PF_X != 0;
            let inside = address.checked_sub(segment.p_vaddr.get(self.endian))?;
            let offset = segment.p_offset.get(self.endian).checked_add(inside)?;
            let is_inside = inside < segment.p_filesz.get(self.endian) && offset < self.length;
            (is_code && is_inside).then_some(offset)
        })
    }

    /// The code at this address, up to `length` bytes.
    pub(super) fn code(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let offset = self.offset_of_code(address)?;
        let mut code = vec![0; length.min(usize::try_from(self.length - offset).ok()?)];
        self.fill(offset, &mut code).ok()?;
        Some(code)
    }

    /// Calls `visit` with every block of a part of the file and where it begins. Two neighbours have `overlap` bytes in
    /// common, and only the zeros of holes are left out.
    pub(super) fn each_block(
        &self,
        range: Range<u64>,
        overlap: usize,
        mut visit: impl FnMut(u64, &[u8]),
    ) -> io::Result<()> {
        let mut block = vec![0; BLOCK];
        let mut position = range.start;
        while position < range.end {
            let Some(data) = self.next_data(position)? else { break };
            // A name may begin before a hole of zeros ends.
            if data > position {
                position = data.min(range.end);
                continue;
            }
            let length = block.len().min(usize::try_from(range.end - position).unwrap_or(BLOCK));
            let part = &mut block[..length];
            self.fill(position, part)?;
            visit(position, part);
            let end = position + length as u64;
            position = if end == range.end { end } else { end - overlap as u64 };
        }
        Ok(())
    }

    /// Calls `visit` with the index and the value of each entry of a table.
    fn each<T: Pod + Copy>(&self, range: Range<u64>, mut visit: impl FnMut(u64, &T)) -> io::Result<()> {
        let size = size_of::<T>() as u64;
        let whole = range.end - (range.end - range.start) % size;
        let begin = range.start;
        // Of whole entries, so that none lies across two blocks: a hole's end may cut one.
        let step = BLOCK - BLOCK % size_of::<T>();
        let mut block = vec![0; step];
        let mut position = begin;
        while position < whole {
            let Some(data) = self.next_data(position)? else { break };
            position = position.max(begin + (data - begin) / size * size);
            if position >= whole {
                break;
            }
            let part = &mut block[..step.min(usize::try_from(whole - position).unwrap_or(step))];
            self.fill(position, part)?;
            let first = (position - begin) / size;
            for (index, entry) in (first..).zip(part.chunks_exact(size_of::<T>())) {
                if let Ok((entry, _)) = pod::from_bytes::<T>(entry) {
                    visit(index, entry);
                }
            }
            position += part.len() as u64;
        }
        Ok(())
    }

    fn array<T: Pod + Copy>(&self, offset: u64, count: usize) -> io::Result<Vec<T>> {
        let mut bytes = vec![0; count * size_of::<T>()];
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.length) {
            return Ok(Vec::new());
        }
        self.fill(offset, &mut bytes)?;
        Ok(bytes
            .chunks_exact(size_of::<T>())
            .filter_map(|one| Some(*pod::from_bytes::<T>(one).ok()?.0))
            .collect())
    }

    fn fill(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.allowance.take(bytes.len())?;
        self.file.read_exact_at(bytes, offset)
    }

    /// The first byte from `position` on that is in no hole; `None` where there is none.
    fn next_data(&self, position: u64) -> io::Result<Option<u64>> {
        match seek(self.file, SeekFrom::Data(position)) {
            Ok(data) => Ok(Some(data)),
            Err(Errno::NXIO) => Ok(None),
            // A file system that does not know of holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(position)),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(length: u64, parts: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(length).unwrap();
        for (offset, bytes) in parts {
            file.write_all_at(bytes, *offset).unwrap();
        }
        file
    }

    fn elf<'a>(file: &'a File, allowance: &'a Allowance) -> Elf<'a> {
        let length = file.metadata().unwrap().len();
        let (endian, machine, segments, sections) = (Endianness::Little, EM_X86_64, Vec::new(), Vec::new());
        Elf { file, allowance, length, endian, machine, segments, sections }
    }

    #[test]
    fn a_terabyte_of_holes_costs_what_lies_between_them() {
        let file = file(1 << 40, &[(1 << 30, b"here"), ((1 << 39) + 5, b"there")]);
        let allowance = Allowance::new();
        let mut found = Vec::new();
        elf(&file, &allowance)
            .each_block(0..1 << 40, 8, |position, block| {
                found.extend(
                    block
                        .windows(4)
                        .enumerate()
                        .filter(|(_, four)| *four == b"here")
                        .map(|(index, _)| position + index as u64),
                );
            })
            .unwrap();
        found.dedup();
        assert_eq!(found, [1 << 30, (1 << 39) + 6]);
        assert!(allowance.used() <= 4 * BLOCK as u64, "{} bytes", allowance.used());
    }

    #[test]
    fn more_than_the_bound_is_not_read() {
        let mut file = tempfile::tempfile().unwrap();
        for _ in 0..=MOST / BLOCK as u64 {
            file.write_all(&vec![1; BLOCK]).unwrap();
        }
        let allowance = Allowance { bytes: Cell::new(MOST), until: Instant::now() + Duration::from_mins(1) };
        let mut read = 0;
        let error = elf(&file, &allowance).each_block(0..1 << 40, 0, |_, block| read += block.len() as u64);
        assert!(error.is_err() && read <= MOST, "{read} bytes");
        let late = Allowance { bytes: Cell::new(MOST), until: Instant::now() };
        let error = elf(&file, &late).each_block(0..1 << 40, 0, |_, _| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_file_that_is_cut_while_it_is_read_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&std::fs::read("/proc/self/exe").unwrap()).unwrap();
        let allowance = Allowance::new();
        let elf = Elf::read(&file, &allowance).unwrap().unwrap();
        let symbols = elf.all_symbols().unwrap();
        file.set_len(symbols.table.start + 100).unwrap();
        assert!(elf.each_symbol(&symbols, |_, _| {}).is_err());
        assert!(elf.each_block(symbols.names.clone(), 100, |_, _| panic!("there are none")).is_ok());
        file.set_len(70).unwrap();
        assert!(
            Elf::read(&file, &allowance).is_ok_and(|elf| elf.is_some_and(|elf| elf.all_symbols().is_none()))
        );
    }

    #[test]
    fn entries_are_whole_whatever_blocks_and_holes_cut() {
        let size = size_of::<Rela64<Endianness>>() as u64;
        let entry = |value: u64| value.to_le_bytes();
        let far = 40_000 * size;
        let file = file(far + size + 3, &[(3, &entry(7)), (3 + far, &entry(9))]);
        let allowance = Allowance::new();
        let mut found = Vec::new();
        elf(&file, &allowance)
            .each::<Rela64<Endianness>>(3..far + size + 3, |index, entry| {
                let place = entry.r_offset.get(Endianness::Little);
                if place != 0 {
                    found.push((index, place));
                }
            })
            .unwrap();
        assert_eq!(found, [(0, 7), (40_000, 9)]);
    }
}
