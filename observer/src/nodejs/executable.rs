//! What an executable has to be probed at: V8's and libuv's functions by their symbols, as offsets in the file.
//! A file without `node::Start` is not Node.js, whatever its name is.

use std::{fs::File, path::Path};

use anyhow::Context as _;
use object::{Object as _, ObjectSegment as _, ReadRef as _, read::elf::ElfFile64};

use super::{
    bounded::Bounded,
    code,
    symbols::{Function, Functions},
    waits,
};

/// What is probed, named after the program of the kernel half that runs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Probe {
    /// Before each wait of an event loop.
    Wait,
    /// After it.
    Turn,
    /// A pause of any kind begins.
    PauseBegin,
    /// It ends.
    PauseEnd,
    /// A collection begins.
    GcBegin,
    /// It ends, at the return of the function that runs last.
    GcEnd,
    /// A step of incremental marking begins.
    MarkBegin,
    /// It ends.
    MarkEnd,
    /// V8 has counted the heap.
    Heap,
}

impl Probe {
    /// The program that runs there.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Wait => "nodejs_wait",
            Self::Turn => "nodejs_turn",
            Self::PauseBegin => "nodejs_pause_begin",
            Self::PauseEnd => "nodejs_pause_end",
            Self::GcBegin => "nodejs_gc_begin",
            Self::GcEnd => "nodejs_gc_end",
            Self::MarkBegin => "nodejs_mark_begin",
            Self::MarkEnd => "nodejs_mark_end",
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

const STRIPPED: &str = "a Node.js executable is stripped of the symbol";
const NO_SYMBOL: &str = "a Node.js executable lacks the symbol";
const OTHER_ARGUMENTS: &str = "a Node.js executable has a V8 whose collector takes other arguments";
const ONE_OF_TWO: &str = "a Node.js executable lacks the symbol of its begin or of its end";
const OUTSIDE: &str = "a Node.js executable has the function outside of its segments";

pub(super) type Elf<'a> = ElfFile64<'a, object::Endianness, &'a Bounded>;

/// Reads the executable behind `path`; `None` where it is not Node.js.
pub fn read(path: &Path) -> anyhow::Result<Option<Executable>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let cache = Bounded::new(file);
    let Ok(elf) = Elf::parse(&cache) else {
        // A script's interpreter is what runs, so this is 32-bit or no ELF at all.
        return Ok(None);
    };
    Ok(Functions::read(&elf).map(|functions| Executable::of(&elf, &functions)))
}

impl Executable {
    fn of(elf: &Elf<'_>, functions: &Functions) -> Self {
        let mut executable = Self::default();
        let lacking = if functions.stripped { STRIPPED } else { NO_SYMBOL };
        let places = functions.pause_begin.iter().map(|function| function.address).collect::<Vec<_>>();
        let of_all_kinds = [&functions.collect_garbage, &functions.mark_begin];
        let tells = |functions: &Vec<Function>| {
            functions.iter().any(|function| code::calls(elf, *function, &places) == Some(true))
        };
        executable.pair(
            elf,
            [&functions.pause_begin, &functions.pause_end],
            [Probe::PauseBegin, Probe::PauseEnd],
            lacking,
        );
        if !of_all_kinds.into_iter().all(tells) {
            // The compiler has copied the calls of callbacks into the functions around them.
            let collect = [&functions.collect, &functions.collected];
            let reason = if functions.collect_otherwise { OTHER_ARGUMENTS } else { lacking };
            executable.pair(elf, collect, [Probe::GcBegin, Probe::GcEnd], reason);
            let mark = [&functions.mark_begin, &functions.mark_end];
            executable.pair(elf, mark, [Probe::MarkBegin, Probe::MarkEnd], lacking);
        }
        executable.entries(elf, &functions.size, Probe::Heap, lacking);
        let waits = match functions.poll.as_slice() {
            [] => Err(lacking),
            poll => waits::find(elf, poll),
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

    /// A begin is of no use without its end.
    fn pair(
        &mut self,
        elf: &Elf<'_>,
        functions: [&Vec<Function>; 2],
        probes: [Probe; 2],
        lacking: &'static str,
    ) {
        if functions[0].is_empty() != functions[1].is_empty() {
            return self.lacks(&probes, ONE_OF_TWO);
        }
        for (functions, probe) in functions.into_iter().zip(probes) {
            self.entries(elf, functions, probe, lacking);
        }
    }

    fn entries(&mut self, elf: &Elf<'_>, functions: &[Function], probe: Probe, lacking: &'static str) {
        if functions.is_empty() {
            self.lacks(&[probe], lacking);
        }
        for function in functions {
            self.point(elf, probe, function.address);
        }
    }

    fn point(&mut self, elf: &Elf<'_>, probe: Probe, address: u64) {
        match file_offset(elf, address) {
            Some(offset) => self.points.push(Point { probe, offset }),
            None => self.lacks(&[probe], OUTSIDE),
        }
    }

    fn lacks(&mut self, probes: &[Probe], reason: &'static str) {
        self.missing.extend(probes.iter().map(|probe| Missing { probe: *probe, reason }));
    }
}

/// Where the byte at this address is in the file; `None` also where its segment says that it is outside of it.
fn file_offset(elf: &Elf<'_>, address: u64) -> Option<u64> {
    let length = elf.data().len().ok()?;
    elf.segments().find_map(|segment| {
        let (offset, size) = segment.file_range();
        let inside = address.checked_sub(segment.address())?;
        offset.checked_add(inside).filter(|offset| inside < size && *offset < length)
    })
}
