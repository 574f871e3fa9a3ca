//! Programs that do nothing: what the kernel's call and its statistics alone cost, for `cargo xtask bench`.
//! An object of its own, which is never part of the agent.
#![no_std]
#![no_main]

use aya_ebpf::{macros::cgroup_skb, programs::SkBuffContext};

/// The result that lets a packet pass.
const PASS: i32 = 1;

#[cgroup_skb(ingress)]
fn empty_ingress(_ctx: SkBuffContext) -> i32 {
    PASS
}

#[cgroup_skb(egress)]
fn empty_egress(_ctx: SkBuffContext) -> i32 {
    PASS
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached, as in the kernel half itself.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
