//! Programs that look up what is kept of a packet's socket and load the payload's first bytes, and do nothing with either:
//! without both nothing can follow HTTP. What they cost is for `cargo xtask bench`; an object of its own, never part of the agent.
#![no_std]
#![no_main]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the attributes that make a program of a function call it so"
)]

use core::ptr;

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    btf_maps::SkStorage,
    helpers::{bpf_skb_load_bytes, generated::bpf_sk_storage_get},
    macros::{btf_map, cgroup_skb},
    programs::SkBuffContext,
};

/// The result that lets a packet pass.
const PASS: i32 = 1;
/// Headers in front of the payload: of IPv4 without options, and of TCP with timestamps, as on loopback.
const HEADERS: u32 = 20 + 32;
/// Bytes that are loaded at most.
const LOAD: u32 = 32;

/// What is kept of a socket: how many packets with payload it had.
#[btf_map]
static PACKETS: SkStorage<u64> = SkStorage::new();

#[cgroup_skb(ingress)]
fn floor_ingress(ctx: SkBuffContext) -> i32 {
    take(&ctx);
    PASS
}

#[cgroup_skb(egress)]
fn floor_egress(ctx: SkBuffContext) -> i32 {
    take(&ctx);
    PASS
}

fn take(ctx: &SkBuffContext) -> Option<()> {
    let skb = ctx.skb.skb;
    // SAFETY: fields of the program's context.
    let (length, socket) = unsafe { ((*skb).len.checked_sub(HEADERS)?, (*skb).__bindgen_anon_2.sk) };
    if length == 0 || socket.is_null() {
        return None;
    }
    let length = if length > LOAD { LOAD } else { length };
    // The verifier sees 1..=LOAD by the mask.
    let length = (length.wrapping_sub(1) & (LOAD - 1)) + 1;
    let mut start = [0_u64; LOAD as usize / 8];
    let map = ptr::from_ref(&PACKETS).cast_mut().cast();
    // SAFETY: the context's socket, not null; `start` has room for the most that is loaded; the storage lives as long as its
    // socket, which the running program holds.
    unsafe {
        let flags = BPF_SK_STORAGE_GET_F_CREATE.into();
        let packets = bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), flags).cast::<u64>();
        if packets.is_null()
            || bpf_skb_load_bytes(skb.cast(), HEADERS, start.as_mut_ptr().cast(), length) != 0
        {
            return None;
        }
        *packets += 1 + (start[0] & 1);
    }
    Some(())
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached, as in the kernel half itself.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
