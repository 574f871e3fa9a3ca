//! What the kernel half is made of and the agent shares: records, who a connection is, order, detection, framers.
//! Plain code, the same in the kernel, in host tests and in fuzzers; the programs are in the binary.
//!
//! Calls go down: `flow` → `detector`, `order` → `framer` (the interface) ← `http1`; all of them know `records`.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    clippy::inline_always,
    reason = "a call in BPF costs a frame of the 512-byte stack and hides values from the verifier"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "sequence numbers are the low half of positions; lengths of tables are small"
)]

pub mod detector;
pub mod flow;
pub mod framer;
#[cfg(all(not(target_arch = "bpf"), any(test, feature = "host")))]
pub mod host;
pub mod http1;
pub mod order;
pub mod records;
pub mod volatile;

/// Lets the agent copy plain types out of maps.
#[cfg(feature = "user")]
macro_rules! impl_pod {
    ($($type:ty),* $(,)?) => {$(
        // SAFETY: `repr(C)`, fixed-width integers and arrays of them only, no implicit padding (the size
        // assertions beside each type would fail), so every bit pattern is a value.
        unsafe impl aya::Pod for $type {}
    )*};
}

#[cfg(feature = "user")]
impl_pod!(
    flow::Connection,
    records::cgroup::CgroupRecord,
    records::exchange::Exchange,
    records::exchange::RequestAhead,
    records::open_connection::OpenConnection,
    records::peer::PeerKey,
    records::peer::PeerTotals,
    records::runtime::Process,
    records::runtime::Thread,
);
