//! What the kernel half and the agent share: connections, peers, records and counts of loss.
//! Declared once, `repr(C)`, with sizes and offsets asserted; the kernel half's programs are in the binary.
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

pub mod connection;
pub mod histogram;
pub mod http;
pub mod l7;
pub mod lost;
pub mod peer;
pub mod record;
pub mod room;
pub mod runtime;

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
    connection::Connection,
    connection::OpenConnection,
    http::exchange::Exchange,
    http::exchange::RequestAhead,
    peer::PeerKey,
    peer::PeerTotals,
    record::CgroupRecord,
    runtime::Process,
    runtime::Thread,
);
