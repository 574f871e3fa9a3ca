//! What a process has mapped, as far as it tells of its executable: code that a dynamic linker loaded, and where the
//! kernel has put probes.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use procfs::{
    FromBufRead as _,
    process::{MMPermissions, MMapPath, MemoryMap, MemoryMaps},
};

use crate::nodejs::Point;

/// Bytes of the list that are read: a process may have 65,530 mappings, and its program is among the first.
const MOST: u64 = 256 << 10;

/// What the kernel writes over the first byte of an instruction that it probes, on `x86_64`.
const BREAKPOINT: u8 = 0xcc;

/// Mapped code of files, in the order of addresses.
fn code(directory: &Path) -> io::Result<Vec<MemoryMap>> {
    let mut list = Vec::new();
    File::open(directory.join("maps"))?.take(MOST).read_to_end(&mut list)?;
    // Whole lines.
    let end = list.iter().rposition(|byte| *byte == b'\n').unwrap_or_default();
    let list = String::from_utf8_lossy(&list[..end]);
    let maps = MemoryMaps::from_buf_read(list.as_bytes()).map_err(io::Error::other)?;
    let is_code = |map: &MemoryMap| map.inode != 0 && map.perms.contains(MMPermissions::EXECUTE);
    Ok(maps.into_iter().filter(is_code).collect())
}

/// Below it lies what has an address of its own, and nothing that the kernel has chosen a place for.
const FIXED: u64 = 1 << 32;

/// The program that a dynamic linker runs in this process: it has an address of its own, or was mapped before all libraries,
/// which the kernel puts below one another. `None` while there is none.
pub(super) fn loaded(directory: &Path, linker: &File) -> io::Result<Option<File>> {
    let own = linker.metadata()?.ino();
    let others: Vec<MemoryMap> = code(directory)?.into_iter().filter(|map| map.inode != own).collect();
    let fixed = others.first().filter(|map| map.address.0 < FIXED);
    if let Some(map) = fixed.or(others.last())
        && let MMapPath::Path(path) = &map.pathname
    {
        // By its path as the process sees it, which may lead anywhere by now: it counts only if it is the mapped file.
        let below: PathBuf = path.strip_prefix("/").unwrap_or(path).into();
        let file = File::open(directory.join("root").join(below))?;
        let metadata = file.metadata()?;
        if metadata.ino() != map.inode || !metadata.is_file() {
            return Err(io::Error::other("the program of a dynamic linker is not where it was loaded from"));
        }
        return Ok(Some(file));
    }
    Ok(None)
}

/// Whether the kernel has probes in this process at each of these points of `file`.
pub(super) fn in_place(directory: &Path, file: &File, points: &[Point]) -> io::Result<bool> {
    let inode = file.metadata()?.ino();
    let code: Vec<MemoryMap> = code(directory)?.into_iter().filter(|map| map.inode == inode).collect();
    let memory = File::open(directory.join("mem"))?;
    for point in points {
        let address = code.iter().find_map(|map| {
            let inside = point.offset.checked_sub(map.offset)?;
            let address = map.address.0.checked_add(inside)?;
            (address < map.address.1).then_some(address)
        });
        let mut byte = [0];
        let Some(address) = address else { return Ok(false) };
        memory.read_exact_at(&mut byte, address)?;
        if byte[0] != BREAKPOINT {
            return Ok(false);
        }
    }
    Ok(!points.is_empty())
}
