//! The kernel half's programs and maps, one file per subject; what is plain code, or shared with the agent, is the library's.
//! Calls go down: `hooks` → `flow` → `functions` (order and framer as the verifier sees them) → `packet` → `output`, `storage`.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "`atomic_xadd` is the only atomic addition that BPF has in every kernel"
)]
#![expect(
    clippy::inline_always,
    reason = "a call in BPF costs a frame of the 512-byte stack and hides values from the verifier"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the kernel hands ports and lengths as u32, and sizes are those of small structures"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the attributes that make a program of a function call it so"
)]

mod claim;
mod count;
mod flow;
mod functions;
mod hooks;
mod offsets;
mod output;
mod packet;
mod peers;
mod shares;
mod storage;

/// The helpers that programs use are open to programs under the GPL only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: a program that could panic is refused by the verifier, which sees this loop.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
