//! Reads the machine code of a function, from its begin to its end, so that every instruction is seen where it begins.
//! On `x86_64` only: elsewhere nothing is decoded, and what needs it is off.

use iced_x86::{Decoder, DecoderOptions, Instruction};

use super::{elf::Elf, symbols::Function};

/// Bytes of the largest function that is read. What is read here has some thousands.
const LARGEST: u64 = 64 << 10;

/// The instructions of a function; `None` where it cannot be read, or is not code from begin to end.
pub(super) fn instructions(elf: &Elf<'_>, function: Function) -> Option<Vec<Instruction>> {
    if !elf.is_x86_64() || !(1..=LARGEST).contains(&function.size) {
        return None;
    }
    let code = elf.code(function.address, usize::try_from(function.size).ok()?)?;
    (code.len() as u64 == function.size).then(|| decode(&code, function.address))?
}

/// The instructions of this code; `None` where a part of it is none.
pub(super) fn decode(code: &[u8], address: u64) -> Option<Vec<Instruction>> {
    let decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let instructions: Vec<Instruction> = decoder.into_iter().collect();
    (!instructions.iter().any(Instruction::is_invalid)).then_some(instructions)
}

/// Whether there is code of a function at its address: where it can be told, all of it has to be instructions, of which the
/// first begins there.
pub(super) fn is_function(elf: &Elf<'_>, function: Function) -> bool {
    if elf.is_x86_64() {
        instructions(elf, function).is_some()
    } else {
        function.size > 0 && elf.offset_of_code(function.address).is_some()
    }
}

/// Whether a function calls one of these; `None` where that cannot be told.
pub(super) fn calls(elf: &Elf<'_>, function: Function, called: &[Function]) -> Option<bool> {
    let instructions = instructions(elf, function)?;
    let mut calls = instructions.iter().filter(|instruction| instruction.is_call_near());
    Some(calls.any(|call| called.iter().any(|function| function.address == call.near_branch_target())))
}
