//! What an executable has to be probed at: V8's and libuv's functions by their symbols, as offsets in the file.
//! A file without `node::Start` is not Node.js, whatever its name is.

use std::{borrow::Cow, collections::BTreeSet, fs::File, io};

use serde::{Deserialize, Serialize};

use super::{
    code,
    elf::{Allowance, Elf},
    symbols::{Function, Functions, Places, Role},
    waits,
};

/// What is probed, named after the program of the kernel half that runs there.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
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
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Point {
    /// What is probed there.
    pub probe: Probe,
    /// Bytes from the begin of the file.
    pub offset: u64,
}

/// What cannot be probed in this executable.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Missing {
    /// What.
    pub probe: Probe,
    /// Why, for the operator.
    pub reason: Cow<'static, str>,
}

/// An executable of Node.js.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
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
/// Points of one executable, each of which takes a descriptor. Official ones have up to 14.
const MOST_POINTS: usize = 32;

const TOO_MANY: &str =
    "an executable that calls itself Node.js names more places for a function than there can be";
const NO_CODE: &str = "an executable that calls itself Node.js has no code where it names a function";

/// What was read of an executable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// `None` where it is not Node.js.
    pub executable: Option<Executable>,
    /// Bytes that were read for it.
    pub bytes: u64,
}

/// Reads an executable, within bounds. An error is one of the reading and says nothing of what it is.
pub fn read(file: &File) -> io::Result<Reading> {
    let allowance = Allowance::new();
    // A script's interpreter is what runs, so whatever else this is, it is 32-bit or no ELF at all.
    let executable = match Elf::read(file, &allowance)? {
        Some(elf) => match Functions::read(&elf)? {
            Some(functions) => Some(Executable::of(&elf, &functions)?),
            None => None,
        },
        None => None,
    };
    Ok(Reading { executable, bytes: allowance.used() })
}

impl Executable {
    fn of(elf: &Elf<'_>, functions: &Functions) -> io::Result<Self> {
        let mut executable = Self::default();
        let lacking = if functions.stripped { STRIPPED } else { NO_SYMBOL };
        let pauses = functions.of(Role::PauseBegin).list();
        let tells = |role| {
            functions.of(role).list().iter().any(|function| code::calls(elf, *function, pauses) == Some(true))
        };
        let places = |begin, end| [functions.of(begin), functions.of(end)];
        let pause = [Probe::PauseBegin, Probe::PauseEnd];
        executable.pair(elf, places(Role::PauseBegin, Role::PauseEnd), pause, lacking);
        if !(tells(Role::CollectGarbage) && tells(Role::MarkBegin)) {
            // The compiler has copied the calls of callbacks into the functions around them.
            let reason = if functions.collect_otherwise { OTHER_ARGUMENTS } else { lacking };
            let collect = [Probe::GcBegin, Probe::GcEnd];
            executable.pair(elf, places(Role::Collect, Role::Collected), collect, reason);
            let mark = [Probe::MarkBegin, Probe::MarkEnd];
            executable.pair(elf, places(Role::MarkBegin, Role::MarkEnd), mark, lacking);
        }
        executable.entries(elf, functions.of(Role::Size), Probe::Heap, lacking);
        let poll = functions.of(Role::Poll);
        let waits = if poll.are_too_many() {
            Err(TOO_MANY)
        } else if poll.list().is_empty() {
            Err(lacking)
        } else {
            waits::find(elf, functions)?
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
        if executable.points.len() > MOST_POINTS {
            executable.refuse(TOO_MANY);
        }
        Ok(executable)
    }

    /// A begin is of no use without its end.
    fn pair(&mut self, elf: &Elf<'_>, places: [&Places; 2], probes: [Probe; 2], lacking: &'static str) {
        if places.iter().any(|places| places.are_too_many()) {
            return self.lacks(&probes, TOO_MANY);
        }
        if places[0].list().is_empty() != places[1].list().is_empty() {
            return self.lacks(&probes, ONE_OF_TWO);
        }
        for (places, probe) in places.into_iter().zip(probes) {
            self.entries(elf, places, probe, lacking);
        }
    }

    fn entries(&mut self, elf: &Elf<'_>, places: &Places, probe: Probe, lacking: &'static str) {
        if places.are_too_many() {
            return self.lacks(&[probe], TOO_MANY);
        }
        if places.list().is_empty() {
            self.lacks(&[probe], lacking);
        }
        for function in places.list() {
            self.entry(elf, probe, *function);
        }
    }

    fn entry(&mut self, elf: &Elf<'_>, probe: Probe, function: Function) {
        if code::is_function(elf, function) {
            self.point(elf, probe, function.address);
        } else {
            self.lacks(&[probe], NO_CODE);
        }
    }

    fn point(&mut self, elf: &Elf<'_>, probe: Probe, address: u64) {
        match elf.offset_of_code(address) {
            Some(offset) => self.points.push(Point { probe, offset }),
            None => self.lacks(&[probe], NO_CODE),
        }
    }

    /// Has nothing probed, for this reason.
    pub(crate) fn refuse(&mut self, reason: &'static str) {
        let probes: BTreeSet<Probe> = self.points.drain(..).map(|point| point.probe).collect();
        self.lacks(&probes.into_iter().collect::<Vec<_>>(), reason);
    }

    fn lacks(&mut self, probes: &[Probe], reason: &'static str) {
        let missing = |probe: &Probe| Missing { probe: *probe, reason: Cow::Borrowed(reason) };
        self.missing.extend(probes.iter().map(missing));
    }
}
