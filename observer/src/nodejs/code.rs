//! Reads the machine code of a function, from its begin to its end, so that every instruction is seen where it begins.
//! On `x86_64` only: elsewhere nothing is decoded, and what needs it is off.

use iced_x86::{Decoder, DecoderOptions, Instruction};
use object::{Architecture, Object as _, ObjectSegment as _, ReadRef as _};

use super::{executable::Elf, symbols::Function};

/// Bytes of the largest function that is read. What is read here has some thousands.
const LARGEST: u64 = 1 << 20;

/// The instructions of a function; `None` where it cannot be read, or is not code from begin to end.
pub(super) fn instructions(elf: &Elf<'_>, function: Function) -> Option<Vec<Instruction>> {
    if elf.architecture() != Architecture::X86_64 || function.size > LARGEST {
        return None;
    }
    decode(bytes(elf, function.address, function.size)?, function.address)
}

/// The instructions of this code; `None` where a part of it is none.
pub(super) fn decode(code: &[u8], address: u64) -> Option<Vec<Instruction>> {
    let decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let instructions: Vec<Instruction> = decoder.into_iter().collect();
    (!instructions.iter().any(Instruction::is_invalid)).then_some(instructions)
}

/// Whether a function calls one of these addresses; `None` where that cannot be told.
pub(super) fn calls(elf: &Elf<'_>, function: Function, addresses: &[u64]) -> Option<bool> {
    let instructions = instructions(elf, function)?;
    let mut calls = instructions.iter().filter(|instruction| instruction.is_call_near());
    Some(calls.any(|call| addresses.contains(&call.near_branch_target())))
}

/// The bytes at this address, up to `length`: these alone, where the segment's own method reads all of its 27 MiB.
pub(super) fn bytes<'a>(elf: &Elf<'a>, address: u64, length: u64) -> Option<&'a [u8]> {
    elf.segments().find_map(|segment| {
        let (offset, size) = segment.file_range();
        let inside = address.checked_sub(segment.address())?;
        let length = length.min(size.checked_sub(inside)?);
        elf.data().read_bytes_at(offset.checked_add(inside)?, length).ok()
    })
}
