//! Where libuv waits for events: the calls of `epoll_wait` and `epoll_pwait` inside `uv__io_poll`, and what runs next.
//! Not the function itself: it calls back for each event before it returns, which is most of a turn's work.

use std::io;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Register};

use super::{
    code::instructions,
    elf::Elf,
    symbols::{Function, Functions, Role},
};

const OTHER_PROCESSOR: &str = "the event loop can be probed on x86_64 only";
const UNREADABLE: &str = "a Node.js executable has a uv__io_poll that cannot be decoded";
const NOT_FOUND: &str = "a Node.js executable has a uv__io_poll that does not call epoll_wait";

/// Slots that the dynamic linker puts a waiting function's address into.
const MOST_SLOTS: usize = 16;

/// Waits in one function; libuv's has two to four.
const MOST_WAITS: usize = 8;

/// Bytes of a stub in the procedure linkage table.
const STUB: usize = 16;
/// Instructions behind a call that are looked at for a place that is cheaper to probe.
const NEAR: usize = 8;

/// Addresses around one wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// The call.
    pub(super) call: u64,
    /// An instruction that runs once behind each return from it.
    pub(super) after: u64,
}

/// The waits in the functions that poll.
pub(super) fn find(elf: &Elf<'_>, functions: &Functions) -> io::Result<Result<Vec<Wait>, &'static str>> {
    if !elf.is_x86_64() {
        return Ok(Err(OTHER_PROCESSOR));
    }
    let waiting = Waiting::of(elf, functions)?;
    let mut waits = Vec::new();
    for function in functions.of(Role::Poll).list() {
        let instructions = instructions(elf, *function);
        let found =
            instructions.and_then(|instructions| among(&instructions, |call| waiting.is_called(elf, call)));
        match found {
            Some(found) if found.len() <= MOST_WAITS => waits.extend(found),
            _ => return Ok(Err(UNREADABLE)),
        }
    }
    Ok(if waits.is_empty() { Err(NOT_FOUND) } else { Ok(waits) })
}

/// The waits among a function's instructions; `None` where one is the last of them.
fn among(instructions: &[Instruction], is_wait: impl Fn(&Instruction) -> bool) -> Option<Vec<Wait>> {
    let found = instructions.iter().enumerate().filter(|(_, instruction)| is_wait(instruction));
    let waits = found.map(|(index, call)| {
        Some(Wait { call: call.ip(), after: after(instructions.get(index + 1..)?)?.ip() })
    });
    waits.collect()
}

/// The next call, if nothing branches before it: the kernel emulates a call, which takes one trap instead of two. Else the
/// next instruction.
fn after(behind: &[Instruction]) -> Option<&Instruction> {
    let straight = behind.iter().take(NEAR).find(|next| next.flow_control() != FlowControl::Next);
    straight.filter(|next| next.is_call_near()).or(behind.first())
}

/// How the waiting functions are called: by address, or through a slot of the global offset table.
struct Waiting<'a> {
    functions: &'a [Function],
    slots: Vec<u64>,
}

impl<'a> Waiting<'a> {
    fn of(elf: &Elf<'_>, functions: &'a Functions) -> io::Result<Self> {
        let mut slots = Vec::new();
        if !functions.waiting_symbols.is_empty() {
            elf.each_relocation(|slot, symbol| {
                if slots.len() < MOST_SLOTS && functions.waiting_symbols.contains(&symbol) {
                    slots.push(slot);
                }
            })?;
        }
        // In an executable without shared libraries they are functions like any other.
        Ok(Self { functions: functions.waiting.list(), slots })
    }

    fn is_called(&self, elf: &Elf<'_>, call: &Instruction) -> bool {
        if call.is_call_near_indirect() {
            return slot(call).is_some_and(|slot| self.slots.contains(&slot));
        }
        if !call.is_call_near() {
            return false;
        }
        let target = call.near_branch_target();
        self.functions.iter().any(|function| function.address == target)
            || stub_slot(elf, target).is_some_and(|slot| self.slots.contains(&slot))
    }
}

/// The slot that a stub of the procedure linkage table jumps through.
fn stub_slot(elf: &Elf<'_>, address: u64) -> Option<u64> {
    let code = elf.code(address, STUB)?;
    let mut stub = Decoder::with_ip(64, &code, address, DecoderOptions::NONE).into_iter();
    let first = stub.next()?;
    let jump = if first.code() == Code::Endbr64 { stub.next()? } else { first };
    (jump.is_jmp_near_indirect()).then(|| slot(&jump))?
}

/// The memory that an instruction takes its target from, where that is at a fixed distance.
fn slot(instruction: &Instruction) -> Option<u64> {
    (instruction.memory_base() == Register::RIP).then(|| instruction.ip_rel_memory_address())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodejs::code::decode;

    const CALLED: u64 = 0x2000;

    fn waits(code: &[u8]) -> Option<Vec<Wait>> {
        let instructions = decode(code, 0x1000)?;
        among(&instructions, |call| call.is_call_near() && call.near_branch_target() == CALLED)
    }

    #[test]
    fn a_probe_moves_to_the_next_call_only_where_nothing_branches_before_it() {
        // push rbp; call 0x2000; mov ebx, eax; call 0x3000; ret
        let straight = [0x55, 0xe8, 0xfa, 0x0f, 0, 0, 0x89, 0xc3, 0xe8, 0xf3, 0x1f, 0, 0, 0xc3];
        assert_eq!(waits(&straight), Some(vec![Wait { call: 0x1001, after: 0x1008 }]));
        // The same with `jne` in place of the `mov`.
        let branches = [0x55, 0xe8, 0xfa, 0x0f, 0, 0, 0x75, 0x00, 0xe8, 0xf3, 0x1f, 0, 0, 0xc3];
        assert_eq!(waits(&branches), Some(vec![Wait { call: 0x1001, after: 0x1006 }]));
    }

    #[test]
    fn other_calls_and_broken_code_have_no_waits() {
        assert_eq!(waits(&[0xe8, 0, 0, 0, 0, 0xc3]), Some(vec![]));
        assert_eq!(waits(&[0x55, 0xe8, 0xfa]), None, "a call that is cut off");
        assert_eq!(waits(&[0xe8, 0xfb, 0x0f, 0, 0]), None, "nothing behind the call");
    }
}
