//! What an executable has to be probed at: V8's and libuv's functions by their symbols, as offsets in the file.
//! A file without `node::Start` is not Node.js, whatever its name is.

use std::{fs::File, path::Path};

use anyhow::Context as _;
use object::{
    Architecture, Object as _, ObjectSegment as _, ObjectSymbol as _, ReadCache, SymbolKind,
    read::elf::ElfFile64,
};

use super::waits;

/// What is probed, named after the program of the kernel half that runs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Probe {
    /// Before each wait of an event loop.
    Wait,
    /// After it.
    Turn,
    /// A collection begins.
    GcBegin,
    /// It ends, at the return of the same function.
    GcEnd,
    /// A step of incremental marking begins.
    MarkBegin,
    /// It ends.
    MarkEnd,
    /// Callbacks of weak references begin.
    WeakBegin,
    /// They end.
    WeakEnd,
    /// V8 has counted the heap.
    Heap,
}

impl Probe {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Wait,
        Self::Turn,
        Self::GcBegin,
        Self::GcEnd,
        Self::MarkBegin,
        Self::MarkEnd,
        Self::WeakBegin,
        Self::WeakEnd,
        Self::Heap,
    ];

    /// The program that runs there.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Wait => "nodejs_wait",
            Self::Turn => "nodejs_turn",
            Self::GcBegin => "nodejs_gc_begin",
            Self::GcEnd => "nodejs_gc_end",
            Self::MarkBegin => "nodejs_mark_begin",
            Self::MarkEnd => "nodejs_mark_end",
            Self::WeakBegin => "nodejs_weak_begin",
            Self::WeakEnd => "nodejs_weak_end",
            Self::Heap => "nodejs_heap",
        }
    }
}

/// A place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// What is probed there.
    pub probe: Probe,
    /// Bytes from the begin of the file.
    pub offset: u64,
}

/// What cannot be probed in this executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Missing {
    /// What.
    pub probe: Probe,
    /// Why, for the operator.
    pub reason: &'static str,
}

/// An executable of Node.js.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executable {
    /// Where to probe it.
    pub points: Vec<Point>,
    /// What is left out, and why.
    pub missing: Vec<Missing>,
}

/// Only Node.js has it, and every one exports it, for those who embed it: `node::Start(int, char**)`.
const START: &str = "_ZN4node5StartEiPPc";

/// `v8::internal::Heap::PerformGarbageCollection(GarbageCollector, …`; the rest of its arguments differs by version.
const COLLECT: &str = "_ZN2v88internal4Heap24PerformGarbageCollectionENS0_16GarbageCollectorE";
/// Another order of arguments: the collector is not the first, and what is, is not known.
const COLLECT_OTHERWISE: &str = "_ZN2v88internal4Heap24PerformGarbageCollectionE";
const SIZE: &str = "_ZN2v88internal4Heap13SizeOfObjectsEv";
const MARK_BEGIN: &str = "_ZN2v88internal4Heap41InvokeIncrementalMarkingPrologueCallbacksEv";
const MARK_END: &str = "_ZN2v88internal4Heap41InvokeIncrementalMarkingEpilogueCallbacksEv";
/// `v8::internal::Heap::CallGCPrologueCallbacks(GCType, …`.
const WEAK_BEGIN: &str = "_ZN2v88internal4Heap23CallGCPrologueCallbacksENS_6GCTypeE";
const WEAK_END: &str = "_ZN2v88internal4Heap23CallGCEpilogueCallbacksENS_6GCTypeE";
/// libuv's function that waits for events and calls back for each.
const POLL: &str = "uv__io_poll";

const STRIPPED: &str = "a Node.js executable is stripped of the symbol";
const NO_SYMBOL: &str = "a Node.js executable lacks the symbol";
const OTHER_ARGUMENTS: &str = "a Node.js executable has a V8 whose collector takes other arguments";
const ONE_OF_TWO: &str = "a Node.js executable lacks the symbol of its begin or of its end";

/// Functions by what they are to the probes: address and size.
#[derive(Default)]
struct Functions {
    is_node: bool,
    stripped: bool,
    collect: Vec<(u64, u64)>,
    collect_otherwise: bool,
    size: Vec<(u64, u64)>,
    mark_begin: Vec<(u64, u64)>,
    mark_end: Vec<(u64, u64)>,
    weak_begin: Vec<(u64, u64)>,
    weak_end: Vec<(u64, u64)>,
    poll: Vec<(u64, u64)>,
}

pub(super) type Elf<'a> = ElfFile64<'a, object::Endianness, &'a ReadCache<File>>;

/// Reads the executable behind `path`; `None` where it is not Node.js.
pub fn read(path: &Path) -> anyhow::Result<Option<Executable>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let cache = ReadCache::new(file);
    let Ok(elf) = Elf::parse(&cache) else {
        // A script's interpreter is what runs, so this is 32-bit or no ELF at all.
        return Ok(None);
    };
    let mut functions = Functions::default();
    elf.dynamic_symbols().for_each(|symbol| functions.take(&symbol));
    if !functions.is_node && elf.symbols().all(|symbol| symbol.name() != Ok(START)) {
        return Ok(None);
    }
    functions.stripped = elf.symbols().next().is_none();
    elf.symbols().for_each(|symbol| functions.take(&symbol));
    Ok(Some(functions.place(&elf)))
}

impl Functions {
    fn take<'a>(&mut self, symbol: &impl object::ObjectSymbol<'a>) {
        if symbol.is_undefined() || symbol.kind() != SymbolKind::Text {
            return;
        }
        let Ok(name) = symbol.name() else { return };
        // What a compiler splits off a function is no entry of it; a clone with a fixed argument is.
        let split = name.split_once('.').map(|(_, suffix)| suffix);
        if split.is_some_and(|suffix| !suffix.starts_with("constprop") && !suffix.starts_with("isra")) {
            return;
        }
        let list = match name {
            START => {
                self.is_node = true;
                return;
            }
            SIZE => &mut self.size,
            MARK_BEGIN => &mut self.mark_begin,
            MARK_END => &mut self.mark_end,
            POLL => &mut self.poll,
            _ if name.starts_with(WEAK_BEGIN) => &mut self.weak_begin,
            _ if name.starts_with(WEAK_END) => &mut self.weak_end,
            _ if name.starts_with(COLLECT) => &mut self.collect,
            _ if name.starts_with(COLLECT_OTHERWISE) => {
                self.collect_otherwise = true;
                return;
            }
            _ => return,
        };
        let function = (symbol.address(), symbol.size());
        // The dynamic symbols are among the others, too.
        if !list.contains(&function) {
            list.push(function);
        }
    }

    fn place(&self, elf: &Elf<'_>) -> Executable {
        let mut executable = Executable::default();
        let lacking = if self.stripped { STRIPPED } else { NO_SYMBOL };
        let collect_reason = if self.collect_otherwise { OTHER_ARGUMENTS } else { lacking };
        executable.entries(elf, &self.collect, &[Probe::GcBegin, Probe::GcEnd], collect_reason);
        executable.entries(elf, &self.size, &[Probe::Heap], lacking);
        let pairs = [
            (&self.mark_begin, &self.mark_end, [Probe::MarkBegin, Probe::MarkEnd]),
            (&self.weak_begin, &self.weak_end, [Probe::WeakBegin, Probe::WeakEnd]),
        ];
        for (begin, end, probes) in pairs {
            if begin.is_empty() == end.is_empty() {
                executable.entries(elf, begin, &probes[..1], lacking);
                executable.entries(elf, end, &probes[1..], lacking);
            } else {
                executable.lacks(&probes, ONE_OF_TWO);
            }
        }
        let waits = match self.poll.as_slice() {
            [] => Err(lacking),
            functions => waits::find(elf, functions),
        };
        match waits {
            Ok(waits) => {
                for wait in waits {
                    executable.point(elf, Probe::Wait, wait.call);
                    executable.point(elf, Probe::Turn, wait.after);
                }
            }
            Err(reason) => executable.lacks(&[Probe::Wait, Probe::Turn], reason),
        }
        executable
    }
}

impl Executable {
    fn entries(&mut self, elf: &Elf<'_>, functions: &[(u64, u64)], probes: &[Probe], lacking: &'static str) {
        if functions.is_empty() {
            self.lacks(probes, lacking);
        }
        for (address, _) in functions {
            for probe in probes {
                self.point(elf, *probe, *address);
            }
        }
    }

    fn point(&mut self, elf: &Elf<'_>, probe: Probe, address: u64) {
        match file_offset(elf, address) {
            Some(offset) => self.points.push(Point { probe, offset }),
            None => self.lacks(&[probe], "a Node.js executable has the function outside of its segments"),
        }
    }

    fn lacks(&mut self, probes: &[Probe], reason: &'static str) {
        self.missing.extend(probes.iter().map(|probe| Missing { probe: *probe, reason }));
    }
}

/// Where the byte at this address is in the file.
fn file_offset(elf: &Elf<'_>, address: u64) -> Option<u64> {
    elf.segments().find_map(|segment| {
        let (offset, size) = segment.file_range();
        let inside = address.checked_sub(segment.address())?;
        (inside < size).then_some(offset + inside)
    })
}

/// The bytes at this address, up to `length`.
pub(super) fn bytes<'a>(elf: &Elf<'a>, address: u64, length: u64) -> Option<&'a [u8]> {
    elf.segments().find_map(|segment| {
        let (_, size) = segment.file_range();
        let inside = address.checked_sub(segment.address())?;
        let length = length.min(size.checked_sub(inside)?);
        segment.data_range(address, length).ok()?
    })
}

/// Whether instructions can be decoded here.
pub(super) fn is_x86_64(elf: &Elf<'_>) -> bool {
    elf.architecture() == Architecture::X86_64
}
