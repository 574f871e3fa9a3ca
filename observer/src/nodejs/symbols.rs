//! The functions of V8 and libuv that are probed, by their mangled names, in the dynamic symbols and in all others.
//! A function has one place, or a few where the compiler made clones of it; of one with more, none is believed.

use std::io;

use super::{
    elf::{Elf, Symbol, Symbols},
    names::{Names, Wanted},
};

/// Places of one function that are taken: official executables have up to three.
pub(super) const MOST_PLACES: usize = 6;

/// Calls of the waiting functions by the dynamic linker, and symbols that stand for them.
const MOST_WAITING: usize = 8;

/// What is looked for in the tables of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// Only Node.js has it, and every one exports it, for those who embed it: `node::Start(int, char**)`.
    Start,
    /// One that is probed or read.
    Of(Role),
    /// `PerformGarbageCollection` with another order of arguments: the collector is not the first, and what is, is not
    /// known.
    CollectOtherwise,
    /// A function of the system that waits for events.
    Waiting,
}

/// The functions, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `v8::internal::Heap::CollectGarbage(AllocationSpace, …`.
    CollectGarbage,
    /// `v8::internal::Heap::PerformGarbageCollection(GarbageCollector, …`; the rest of its arguments differs by version.
    Collect,
    /// `v8::internal::GlobalHandles::PostGarbageCollectionProcessing(…`: weak callbacks, at the end of a collection.
    Collected,
    /// `v8::internal::Heap::SizeOfObjects()`.
    Size,
    /// `v8::internal::Heap::InvokeIncrementalMarkingPrologueCallbacks()`.
    MarkBegin,
    /// `v8::internal::Heap::InvokeIncrementalMarkingEpilogueCallbacks()`.
    MarkEnd,
    /// `v8::internal::Heap::CallGCPrologueCallbacks(GCType, …`.
    PauseBegin,
    /// `v8::internal::Heap::CallGCEpilogueCallbacks(GCType, …`.
    PauseEnd,
    /// libuv's function that waits for events and calls back for each.
    Poll,
}

const ROLES: usize = 9;

const fn wanted(before: &'static str, rare: &'static str, goes_on: bool) -> Wanted {
    Wanted { before, rare, goes_on }
}

const HEAP: &str = "_ZN2v88internal4Heap";

/// Of two that a name may be, the first holds.
const WANTED: [(Name, Wanted); 13] = [
    (Name::Start, wanted("_ZN4node", "5StartEiPPc", false)),
    (Name::Of(Role::CollectGarbage), wanted(HEAP, "14CollectGarbageENS0_15AllocationSpaceE", true)),
    (Name::Of(Role::Collect), wanted(HEAP, "24PerformGarbageCollectionENS0_16GarbageCollectorE", true)),
    (Name::CollectOtherwise, wanted(HEAP, "24PerformGarbageCollectionE", true)),
    (
        Name::Of(Role::Collected),
        wanted("_ZN2v88internal13GlobalHandles", "31PostGarbageCollectionProcessingE", true),
    ),
    (Name::Of(Role::Size), wanted(HEAP, "13SizeOfObjectsEv", false)),
    (Name::Of(Role::MarkBegin), wanted(HEAP, "41InvokeIncrementalMarkingPrologueCallbacksEv", false)),
    (Name::Of(Role::MarkEnd), wanted(HEAP, "41InvokeIncrementalMarkingEpilogueCallbacksEv", false)),
    (Name::Of(Role::PauseBegin), wanted(HEAP, "23CallGCPrologueCallbacksENS_6GCTypeE", true)),
    (Name::Of(Role::PauseEnd), wanted(HEAP, "23CallGCEpilogueCallbacksENS_6GCTypeE", true)),
    (Name::Of(Role::Poll), wanted("", "uv__io_poll", false)),
    (Name::Waiting, wanted("", "epoll_wait", false)),
    (Name::Waiting, wanted("", "epoll_pwait", false)),
];

/// A function's place in memory, as the executable has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) address: u64,
    /// Bytes.
    pub(super) size: u64,
}

/// The places of one function.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    list: Vec<Function>,
    /// Whether there are more than can be.
    too_many: bool,
}

impl Places {
    /// None where there are too many.
    pub(super) fn list(&self) -> &[Function] {
        if self.too_many { &[] } else { &self.list }
    }

    pub(super) fn are_too_many(&self) -> bool {
        self.too_many
    }

    fn take(&mut self, symbol: &Symbol) {
        let function = Function { address: symbol.address, size: symbol.size };
        // The dynamic symbols are among the others, too. The list is short, whatever the executable says.
        if self.too_many || self.list.contains(&function) {
            return;
        }
        self.too_many = self.list.len() == MOST_PLACES;
        self.list.push(function);
    }
}

/// The functions of an executable of Node.js, each with its clones.
#[derive(Debug, Default)]
pub(super) struct Functions {
    is_node: bool,
    /// Whether all symbols but the dynamic ones were taken out.
    pub(super) stripped: bool,
    /// Whether `PerformGarbageCollection` is there with arguments that are not known.
    pub(super) collect_otherwise: bool,
    places: [Places; ROLES],
    /// Functions of the system that wait, in an executable without shared libraries.
    pub(super) waiting: Places,
    /// Their indices in the table of dynamic symbols.
    pub(super) waiting_symbols: Vec<u64>,
}

impl Functions {
    /// `None` where the executable is not Node.js.
    pub(super) fn read(elf: &Elf<'_>) -> io::Result<Option<Self>> {
        let mut functions = Self { stripped: true, ..Self::default() };
        if let Some(symbols) = elf.dynamic_symbols() {
            functions.take_table(elf, &symbols, true)?;
        }
        if let Some(symbols) = elf.all_symbols() {
            functions.stripped = false;
            functions.take_table(elf, &symbols, false)?;
        }
        Ok(functions.is_node.then_some(functions))
    }

    /// The places of a function.
    pub(super) fn of(&self, role: Role) -> &Places {
        &self.places[role as usize]
    }

    fn take_table(&mut self, elf: &Elf<'_>, symbols: &Symbols, dynamic: bool) -> io::Result<()> {
        let names = Names::find(elf, symbols.names.clone(), &WANTED.map(|(_, wanted)| wanted))?;
        if names.is_empty() {
            return Ok(());
        }
        elf.each_symbol(symbols, |index, symbol| {
            if let Some(found) = names.at(symbol.name) {
                self.take(WANTED[found].0, index, &symbol, dynamic);
            }
        })
    }

    fn take(&mut self, name: Name, index: u64, symbol: &Symbol, dynamic: bool) {
        let is_function = symbol.is_defined && symbol.is_function;
        match name {
            Name::Waiting => {
                if is_function {
                    self.waiting.take(symbol);
                }
                if dynamic && self.waiting_symbols.len() < MOST_WAITING {
                    self.waiting_symbols.push(index);
                }
            }
            // One that embeds Node.js as a library names it, too.
            Name::Start => self.is_node |= is_function || !dynamic,
            Name::CollectOtherwise => self.collect_otherwise |= is_function,
            Name::Of(role) if is_function => self.places[role as usize].take(symbol),
            Name::Of(_) => {}
        }
    }
}
