//! The kernel half's programs and maps, one file per subject.
//! What they share with the agent is in this package's library.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "`atomic_xadd` is the only atomic addition that BPF has in every kernel"
)]

mod cgroups;
mod count;
mod offsets;
mod packets;
mod peers;
mod sockets;

/// The helpers that programs use are open to programs under the GPL only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: a program that could panic is refused by the verifier, which sees this loop.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
