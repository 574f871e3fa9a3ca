//! The stack of the kernel half: the frames on the deepest way below each program, read from the object.
//! Kernels refuse more than 512 bytes, and older ones count more than newer ones; without this only an emulated one would tell.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use object::{File, Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SymbolKind};

/// `MAX_BPF_STACK` of `include/linux/filter.h`.
const MOST_BYTES: u32 = 512;
/// `MAX_CALL_FRAMES` of `include/linux/bpf_verifier.h`.
const MOST_FRAMES: u32 = 8;
/// What a frame is rounded up to, and takes at least, by `check_max_stack_depth` of `kernel/bpf/verifier.c`. Newer kernels
/// count 16 for what is compiled to machine code (`round_up_stack_depth`); 6.1 does not.
const ROUNDED_TO: u32 = 32;

/// Bytes of an instruction.
const INSTRUCTION: usize = 8;
/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_CALL`, the source register of a call that is none of a helper.
const OF_THE_PROGRAM: u8 = 1;
/// `BPF_LD | BPF_IMM | BPF_DW`.
const LOAD_ADDRESS: u8 = 0x18;
/// The register that points to the end of the frame.
const FRAME_POINTER: u8 = 10;

/// A function of the object.
#[derive(Debug, Default)]
struct Function {
    name: String,
    /// Bytes of its own frame, as it uses them.
    bytes: u32,
    /// The functions that it calls, or has called, by their places in the list.
    calls: Vec<usize>,
}

/// A way down from a function: the places of all functions on it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Way {
    bytes: u32,
    functions: Vec<usize>,
}

impl Way {
    fn frames(&self) -> u32 {
        u32::try_from(self.functions.len()).unwrap_or(u32::MAX)
    }
}

/// Fails if a program of `object` takes more of the stack than a kernel grants, and says by which way.
pub(crate) fn check(object: &Path) -> Result<()> {
    let bytes = fs::read(object).with_context(|| format!("{} cannot be read", object.display()))?;
    let file = File::parse(&*bytes).with_context(|| format!("{} is no object", object.display()))?;
    let functions = functions(&file)?;
    for place in 0..functions.len() {
        let ways = [deepest(&functions, place, |way| way.bytes), deepest(&functions, place, Way::frames)];
        if let Some(way) = ways.iter().find(|way| way.bytes > MOST_BYTES || way.frames() > MOST_FRAMES) {
            let frames =
                way.functions.iter().map(|at| format!("{} ({})", functions[*at].name, functions[*at].bytes));
            bail!(
                "{} frames take {} bytes of the stack, and kernels grant {MOST_FRAMES} and {MOST_BYTES}: {}. Let a function with a \
                 large frame call one for what needs it",
                way.frames(),
                way.bytes,
                frames.collect::<Vec<_>>().join(" > "),
            );
        }
    }
    Ok(())
}

/// The functions of an object.
fn functions(file: &File<'_>) -> Result<Vec<Function>> {
    let symbols: Vec<_> = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() != 0)
        .filter_map(|symbol| Some((symbol.section_index()?, symbol)))
        .collect();
    let places: HashMap<(SectionIndex, u64), usize> = symbols
        .iter()
        .enumerate()
        .map(|(place, (section, symbol))| ((*section, symbol.address()), place))
        .collect();
    let mut functions = Vec::new();
    for (section_index, symbol) in &symbols {
        let name = symbol.name().context("a function's name cannot be read")?.to_owned();
        let section = file.section_by_index(*section_index).context("a function's section is missing")?;
        let code = section
            .data_range(symbol.address(), symbol.size())?
            .with_context(|| format!("{name} has no code"))?;
        let relocations: HashMap<u64, (SectionIndex, u64)> = section
            .relocations()
            .filter_map(|(at, relocation)| match relocation.target() {
                RelocationTarget::Symbol(index) => {
                    let symbol = file.symbol_by_index(index).ok()?;
                    Some((at, (symbol.section_index()?, symbol.address())))
                }
                _ => None,
            })
            .collect();
        let mut calls = Vec::new();
        for (number, instruction) in code.chunks_exact(INSTRUCTION).enumerate() {
            let at = symbol.address() + (number * INSTRUCTION) as u64;
            let immediate =
                i32::from_le_bytes([instruction[4], instruction[5], instruction[6], instruction[7]]);
            // A call, or an address that is loaded to be called, as that of a callback.
            let from_here = i64::from(immediate) + 1;
            let target = match (instruction[0], relocations.get(&at)) {
                (CALL | LOAD_ADDRESS, Some(target)) => Some(*target),
                (CALL, None) if instruction[1] >> 4 == OF_THE_PROGRAM => {
                    Some((*section_index, at.wrapping_add_signed(from_here * 8)))
                }
                _ => None,
            };
            calls.extend(target.and_then(|target| places.get(&target)));
        }
        calls.sort_unstable();
        calls.dedup();
        functions.push(Function { name, bytes: frame(code), calls });
    }
    Ok(functions)
}

/// The bytes below the frame pointer that a function's code uses.
fn frame(code: &[u8]) -> u32 {
    let mut most = 0;
    // The register that holds a copy of the frame pointer since the last instruction.
    let mut copy = None;
    for instruction in code.chunks_exact(INSTRUCTION) {
        let (operation, destination, source) = (instruction[0], instruction[1] & 15, instruction[1] >> 4);
        let offset = i16::from_le_bytes([instruction[2], instruction[3]]);
        let immediate = i32::from_le_bytes([instruction[4], instruction[5], instruction[6], instruction[7]]);
        let below = match operation & 7 {
            // BPF_LDX
            1 if source == FRAME_POINTER => offset.unsigned_abs().into(),
            // BPF_ST, BPF_STX
            2 | 3 if destination == FRAME_POINTER => offset.unsigned_abs().into(),
            // BPF_ALU64 | BPF_ADD | BPF_K behind the copy
            7 if operation == 0x07 && copy == Some(destination) && immediate < 0 => immediate.unsigned_abs(),
            _ => 0,
        };
        most = most.max(below);
        // BPF_ALU64 | BPF_MOV | BPF_X
        copy = (operation == 0xbf && source == FRAME_POINTER)
            .then_some(destination)
            .or(copy.filter(|copy| *copy != destination || operation & 7 == 2 || operation & 7 == 3));
    }
    most
}

/// The way down from a function that takes the most by `measure`.
fn deepest(functions: &[Function], place: usize, measure: fn(&Way) -> u32) -> Way {
    let below = functions[place].calls.iter().filter(|called| **called != place);
    let ways = below.map(|called| deepest(functions, *called, measure));
    let mut way = ways.max_by_key(measure).unwrap_or_default();
    way.bytes += functions[place].bytes.max(1).next_multiple_of(ROUNDED_TO);
    way.functions.insert(0, place);
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(bytes: u32, calls: &[usize]) -> Function {
        Function { name: String::new(), bytes, calls: calls.to_vec() }
    }

    #[test]
    fn the_deepest_way_is_that_of_the_most_bytes_and_small_frames_count_as_32() {
        let functions = [
            function(40, &[1, 2]),
            function(0, &[3]),
            function(130, &[]),
            function(8, &[4]),
            function(3, &[]),
        ];
        let bytes = |way: &Way| way.bytes;
        assert_eq!(deepest(&functions, 0, bytes), Way { bytes: 64 + 160, functions: vec![0, 2] });
        assert_eq!(deepest(&functions, 0, Way::frames), Way { bytes: 160, functions: vec![0, 1, 3, 4] });
        assert_eq!(deepest(&functions, 2, bytes), Way { bytes: 160, functions: vec![2] });
    }

    #[test]
    fn a_frame_is_what_is_stored_loaded_and_pointed_to() {
        // *(u64 *)(r10 - 8) = r1
        let store = [0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0];
        // r1 = *(u64 *)(r10 - 24)
        let load = [0x79, 0xa1, 0xe8, 0xff, 0, 0, 0, 0];
        // r2 = r10, r2 += -40
        let point = [[0xbf, 0xa2, 0, 0, 0, 0, 0, 0], [0x07, 2, 0, 0, 0xd8, 0xff, 0xff, 0xff]].concat();
        // r3 += -65, which is a letter made a number
        let number = [0x07, 3, 0, 0, 0xbf, 0xff, 0xff, 0xff];
        assert_eq!(frame(&store), 8);
        assert_eq!(frame(&[store, load].concat()), 24);
        assert_eq!(frame(&[&point[..], &number, &load].concat()), 40);
        assert_eq!(frame(&number), 0);
    }
}
