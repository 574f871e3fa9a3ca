//! What leaves the kernel half: records through the ring, counts of losses, of bytes, of connections given up.
//! Knows what records are; nothing of who calls.

use core::ptr;

use aya_ebpf::{
    Global,
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    btf_maps::{PerCpuArray, RingBuf},
    cty::c_void,
    helpers::{bpf_ringbuf_output, bpf_ringbuf_query},
    macros::btf_map,
};
use observer_ebpf::{
    http1::{
        life_cycle,
        state::{Http, SEND_AHEAD, SEND_EXCHANGE},
    },
    records::{
        exchange::Exchange,
        given_up,
        l7::{self, Protocol},
        loss::{self, Kind, Reason},
    },
};

use crate::count::add;

/// Exchanges and requests ahead; sized by the agent (`limits.exchange_ring_bytes`).
#[btf_map]
static EXCHANGES: RingBuf<Exchange, 4_194_304> = RingBuf::new();

/// Payload bytes by [`Protocol`].
#[btf_map]
static L7_BYTES: PerCpuArray<u64, { l7::CELLS as usize }> = PerCpuArray::new();

/// Losses by kind and reason: a count that cannot be lost itself.
#[btf_map]
static LOST: PerCpuArray<u64, { loss::CELLS as usize }> = PerCpuArray::new();

/// Connections given up, by cause.
#[btf_map]
static GIVEN_UP: PerCpuArray<u64, { given_up::CELLS as usize }> = PerCpuArray::new();

/// Unread bytes of the ring past which the agent is woken: it looks by itself every second.
#[unsafe(no_mangle)]
static WAKE_BYTES: Global<u64> = Global::new(256 * 1024);

/// Counts one loss.
#[inline(always)]
pub(crate) fn lost(kind: Kind, reason: Reason) {
    lose(kind, reason, 1);
}

#[inline(always)]
fn lose(kind: Kind, reason: Reason, count: u64) {
    if let Some(cell) = LOST.get_ptr_mut(loss::cell(kind, reason)) {
        // SAFETY: a valid cell of this CPU.
        unsafe { add(cell, count) };
    }
}

/// Counts a connection that was given up for `cause` ([`given_up::Cause`]).
#[inline(always)]
pub(crate) fn given_up(cause: u8) {
    if let Some(cell) = GIVEN_UP.get_ptr_mut(cause.into()) {
        // SAFETY: a valid cell of this CPU.
        unsafe { add(cell, 1) };
    }
}

/// Counts payload bytes.
#[inline(always)]
pub(crate) fn count_bytes(protocol: Protocol, length: u32) {
    if length != 0
        && let Some(bytes) = L7_BYTES.get_ptr_mut(protocol as u32)
    {
        // SAFETY: a valid cell of this CPU.
        unsafe { add(bytes, length.into()) };
    }
}

/// Counts what a half has lost since it was asked last.
#[inline(always)]
pub(crate) fn count_losses(http: &mut Http, side: u32) {
    let half = &mut http.halves[(side & 1) as usize];
    let count = half.lost;
    if count != 0 {
        half.lost = 0;
        lose(Kind::Exchange, Reason::Unparsed, count.into());
    }
}

/// Sends what the half has ready.
///
/// # Safety
/// `http` is a storage value of a socket that the running program holds.
#[inline(always)]
pub(crate) unsafe fn send(http: *mut Http, side: u32) {
    // SAFETY: the caller's.
    unsafe {
        let half = &raw mut (*http).halves[(side & 1) as usize];
        let send = (*half).send;
        (*half).send = 0;
        if send & SEND_AHEAD != 0 {
            // Without it its exchange means nothing, and is counted as lost by the agent.
            output((&raw const (*http).ahead).cast(), size_of_val(&(*http).ahead) as u64, 0);
        }
        if send & SEND_EXCHANGE != 0 {
            let exchange = &raw const (*http).exchange;
            let length = u64::from(life_cycle::exchange_bytes(&*http));
            if !output(exchange.cast(), length, (*exchange).index) {
                lose(Kind::Exchange, Reason::RingFull, 1 + u64::from((*exchange).in_flight));
            }
            life_cycle::exchange_sent(&mut *http);
        }
    }
}

/// Writes a record; false if the ring is full. Whether the agent is to be woken is asked with every eighth exchange of a
/// connection, by its `index`: of the ring the answer uses a sixteenth.
///
/// # Safety
/// `record` points to `length` bytes of a map's value.
#[inline(always)]
unsafe fn output(record: *const c_void, length: u64, index: u32) -> bool {
    let ring = ptr::from_ref(&EXCHANGES).cast_mut().cast();
    // SAFETY: the caller's.
    unsafe {
        let wakes =
            index.is_multiple_of(8) && bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA.into()) > WAKE_BYTES.load();
        let wake = if wakes { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
        bpf_ringbuf_output(ring, record.cast_mut(), length, wake.into()) == 0
    }
}
