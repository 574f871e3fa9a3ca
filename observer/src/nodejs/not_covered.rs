//! Runtimes of JavaScript that look like Node.js from outside and are not probed: Bun and Deno, by their executables.
//! Compiled applications are told too: they are the runtime under another name, with its sections and its data.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use object::{Object as _, ObjectSection as _, read::elf::ElfFile64};

use super::bounded::Bounded;
use crate::targets::executable;

/// A runtime whose event loop and garbage collection are not observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    Bun,
    Deno,
}

/// Bun keeps its built-in modules, and what is compiled into it, in sections of its own (`.bun_builtins`, `.bun`).
const BUN_SECTIONS: &str = ".bun";
/// Versions of the symbols that Bun exports to native modules, which older ones have too: `BUN_1.2`.
const BUN_VERSIONS: &[u8] = b"\0BUN_";
/// Exported by every runtime that loads native modules of Node.js.
const NODE_API: &[u8] = b"\0napi_create_function\0";
/// What Deno calls the modules that it is built of, in the start-up code of each executable.
const DENO_MODULES: &[u8] = b"ext:deno_";

/// Bytes of a section that are searched at once.
const BLOCK: u64 = 1 << 20;
/// Bytes of a section that are searched at the most: Deno's is a tenth of it.
const MOST: u64 = 512 << 20;

impl Runtime {
    /// The runtime of this executable; `None` for anything else, Node.js too.
    pub(super) fn of(file: File) -> Option<Self> {
        let cache = Bounded::new(file);
        let elf = ElfFile64::<object::Endianness, _>::parse(&cache).ok()?;
        if elf.sections().any(|section| section.name().is_ok_and(|name| name.starts_with(BUN_SECTIONS))) {
            return Some(Self::Bun);
        }
        let names = elf.section_by_name(".dynstr")?.data().ok()?;
        if contains(names, BUN_VERSIONS) {
            return Some(Self::Bun);
        }
        // Node.js exports V8's and its own functions too: then there is nothing to search its data for.
        if !contains(names, NODE_API) || contains(names, b"\0_ZN2v8") {
            return None;
        }
        let (begin, size) = elf.section_by_name(".rodata")?.file_range()?;
        let file = cache.into_inner();
        found(&file, begin, size.min(MOST), DENO_MODULES).ok()?.then_some(Self::Deno)
    }

    /// Its name, and why it is not covered.
    fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Bun => (
                "Bun",
                "it runs on JavaScriptCore, which has none of the functions that are probed in Node.js",
            ),
            Self::Deno => ("Deno", "its loop is not libuv's and its V8 has no symbols to probe"),
        }
    }
}

/// A line for each executable of these processes whose runtime is not covered.
pub fn not_covered(proc_root: &Path, processes: &[u32]) -> Vec<String> {
    let mut executables: BTreeMap<PathBuf, u32> = BTreeMap::new();
    for pid in processes {
        if let Some(path) = executable(proc_root, *pid) {
            executables.entry(path).or_insert(*pid);
        }
    }
    let lines = executables.into_iter().filter_map(|(path, pid)| {
        // By the link: the path is one of the container's file system.
        let file = File::open(proc_root.join(pid.to_string()).join("exe")).ok()?;
        let (name, reason) = Runtime::of(file)?.describe();
        Some(format!(
            "{} is {name}: its event loop and garbage collection are not covered, as {reason}",
            path.display()
        ))
    });
    lines.collect()
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Whether a part of a file holds `wanted`, read a block at a time.
fn found(file: &File, begin: u64, size: u64, wanted: &[u8]) -> io::Result<bool> {
    let mut block = Vec::new();
    let mut done = 0;
    while done < size {
        // Each block begins where the one before it may have cut off what is wanted.
        let length = (size - done).min(BLOCK + wanted.len() as u64);
        block.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        let at = begin.checked_add(done).ok_or(io::ErrorKind::InvalidData)?;
        file.read_exact_at(&mut block, at)?;
        if contains(&block, wanted) {
            return Ok(true);
        }
        done += BLOCK;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_wanted_is_found_also_across_blocks() {
        let mut file = tempfile::tempfile().unwrap();
        let mut bytes = vec![b'x'; 2 * usize::try_from(BLOCK).unwrap()];
        let at = usize::try_from(BLOCK).unwrap() - 4;
        bytes[at..at + DENO_MODULES.len()].copy_from_slice(DENO_MODULES);
        file.write_all(&bytes).unwrap();
        assert!(found(&file, 0, bytes.len() as u64, DENO_MODULES).unwrap());
        assert!(!found(&file, at as u64 + 1, BLOCK, DENO_MODULES).unwrap());
        assert!(found(&file, BLOCK, 2 * BLOCK, b"yy").is_err(), "a section that ends behind the file");
    }

    #[test]
    fn other_programs_are_neither() {
        let own = File::open(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(Runtime::of(own), None);
        let mut text = tempfile::tempfile().unwrap();
        text.write_all(b"#!/bin/sh\n.bun ext:deno_\n").unwrap();
        assert_eq!(Runtime::of(text), None);
    }
}
