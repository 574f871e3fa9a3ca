//! Another tool's programs, as a test attaches them to the cgroup of a target: they count what they see, and all passes.
//! An object of its own, which is never part of the agent.
#![no_std]
#![no_main]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the attributes that make a program of a function call it so"
)]

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTT_CB,
        BPF_SOCK_OPS_RTT_CB_FLAG,
    },
    btf_maps::PerCpuArray,
    macros::{btf_map, cgroup_skb, sock_ops},
    programs::{SkBuffContext, SockOpsContext},
};

/// The result that lets a packet pass.
const PASS: i32 = 1;

const PACKETS_IN: u32 = 0;
const PACKETS_OUT: u32 = 1;
const CONNECTIONS: u32 = 2;
const ROUND_TRIPS: u32 = 3;

/// How often each of these was seen.
#[btf_map]
static SEEN: PerCpuArray<u64, 4> = PerCpuArray::new();

fn count(what: u32) {
    if let Some(count) = SEEN.get_ptr_mut(what) {
        // SAFETY: a valid cell of this CPU, on which cgroup programs do not interrupt one another.
        unsafe { *count += 1 };
    }
}

#[cgroup_skb(ingress)]
fn neighbour_in(_ctx: SkBuffContext) -> i32 {
    count(PACKETS_IN);
    PASS
}

#[cgroup_skb(egress)]
fn neighbour_out(_ctx: SkBuffContext) -> i32 {
    count(PACKETS_OUT);
    PASS
}

/// Asks to be told of round trips, and minds nobody else's wishes, as many programs do.
#[sock_ops]
fn neighbour_sock(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB | BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            count(CONNECTIONS);
            let _refused_flags = ctx.set_cb_flags(BPF_SOCK_OPS_RTT_CB_FLAG.cast_signed());
        }
        BPF_SOCK_OPS_RTT_CB => count(ROUND_TRIPS),
        _ => {}
    }
    1
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached, as in the kernel half itself.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
