//! The functions of V8 and libuv that are probed, by their mangled names, in the dynamic symbols and in all others.
//! Names that the compiler has added to are told apart: a clone of a function is entered like it, a part of one is not.

use object::{Object as _, ObjectSymbol, SymbolKind};

use super::executable::Elf;

/// Only Node.js has it, and every one exports it, for those who embed it: `node::Start(int, char**)`.
const START: &str = "_ZN4node5StartEiPPc";
/// `v8::internal::Heap::CollectGarbage(AllocationSpace, …`.
const COLLECT_GARBAGE: &str = "_ZN2v88internal4Heap14CollectGarbageENS0_15AllocationSpaceE";
/// `v8::internal::Heap::PerformGarbageCollection(GarbageCollector, …`; the rest of its arguments differs by version.
const COLLECT: &str = "_ZN2v88internal4Heap24PerformGarbageCollectionENS0_16GarbageCollectorE";
/// Another order of arguments: the collector is not the first, and what is, is not known.
const COLLECT_OTHERWISE: &str = "_ZN2v88internal4Heap24PerformGarbageCollectionE";
/// `v8::internal::GlobalHandles::PostGarbageCollectionProcessing(…`: weak callbacks, at the end of a collection.
const COLLECTED: &str = "_ZN2v88internal13GlobalHandles31PostGarbageCollectionProcessingE";
const SIZE: &str = "_ZN2v88internal4Heap13SizeOfObjectsEv";
const MARK_BEGIN: &str = "_ZN2v88internal4Heap41InvokeIncrementalMarkingPrologueCallbacksEv";
const MARK_END: &str = "_ZN2v88internal4Heap41InvokeIncrementalMarkingEpilogueCallbacksEv";
/// `v8::internal::Heap::CallGCPrologueCallbacks(GCType, …`.
const PAUSE_BEGIN: &str = "_ZN2v88internal4Heap23CallGCPrologueCallbacksENS_6GCTypeE";
const PAUSE_END: &str = "_ZN2v88internal4Heap23CallGCEpilogueCallbacksENS_6GCTypeE";
/// libuv's function that waits for events and calls back for each.
const POLL: &str = "uv__io_poll";

/// A function's place in memory, as the executable has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) address: u64,
    /// Bytes.
    pub(super) size: u64,
}

/// The functions of an executable of Node.js, each with its clones.
#[derive(Debug, Default)]
pub(super) struct Functions {
    is_node: bool,
    /// Whether all symbols but the dynamic ones were taken out.
    pub(super) stripped: bool,
    pub(super) collect_garbage: Vec<Function>,
    pub(super) collect: Vec<Function>,
    pub(super) collected: Vec<Function>,
    /// Whether there is such a function, with arguments that are not known.
    pub(super) collect_otherwise: bool,
    pub(super) size: Vec<Function>,
    pub(super) mark_begin: Vec<Function>,
    pub(super) mark_end: Vec<Function>,
    pub(super) pause_begin: Vec<Function>,
    pub(super) pause_end: Vec<Function>,
    pub(super) poll: Vec<Function>,
}

impl Functions {
    /// `None` where the executable is not Node.js.
    pub(super) fn read(elf: &Elf<'_>) -> Option<Self> {
        let mut functions = Self { stripped: true, ..Self::default() };
        elf.dynamic_symbols().for_each(|symbol| functions.take(&symbol));
        if !functions.is_node && elf.symbols().all(|symbol| symbol.name() != Ok(START)) {
            return None;
        }
        for symbol in elf.symbols() {
            functions.stripped = false;
            functions.take(&symbol);
        }
        Some(functions)
    }

    fn take<'a>(&mut self, symbol: &impl ObjectSymbol<'a>) {
        if symbol.is_undefined() || symbol.kind() != SymbolKind::Text {
            return;
        }
        let Ok(name) = symbol.name() else { return };
        let added = name.split_once('.').map(|(_, added)| added);
        if added.is_some_and(|added| !added.starts_with("constprop")) {
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
            _ if name.starts_with(PAUSE_BEGIN) => &mut self.pause_begin,
            _ if name.starts_with(PAUSE_END) => &mut self.pause_end,
            _ if name.starts_with(COLLECT_GARBAGE) => &mut self.collect_garbage,
            _ if name.starts_with(COLLECTED) => &mut self.collected,
            _ if name.starts_with(COLLECT) => &mut self.collect,
            _ if name.starts_with(COLLECT_OTHERWISE) => {
                self.collect_otherwise = true;
                return;
            }
            _ => return,
        };
        let function = Function { address: symbol.address(), size: symbol.size() };
        // The dynamic symbols are among the others, too.
        if !list.contains(&function) {
            list.push(function);
        }
    }
}
