//! Counts per target and peer, which outlive connections and depend on no ring.
//! All CPUs add to one entry atomically; connections open and close far less often than packets pass.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::HashMap,
    macros::btf_map,
};
use observer_ebpf::records::{
    histogram::{Histogram, bucket},
    loss::{Kind, Reason},
    peer::{Direction, PeerKey, PeerTotals},
};

use crate::{count::add, output::lost, shares};

/// Without preallocation, so that only peers in use take memory.
type Totals<const ENTRIES: usize> = HashMap<PeerKey, PeerTotals, ENTRIES, { BPF_F_NO_PREALLOC as usize }>;

/// One entry per outbound peer; sized by the agent (`limits.peers`).
#[btf_map]
static PEERS: Totals<16_384> = Totals::new();

/// Two entries per target: one for all inbound connections, one for the outbound ones that found `PEERS` full. Apart
/// from it, so that no target's peers can take these places.
#[btf_map]
static SHARED: Totals<16_384> = Totals::new();

/// Too large for a program's stack of 512 bytes.
static EMPTY: PeerTotals = PeerTotals::EMPTY;

/// Finds the totals of a connection's peer. Where there is no room for another peer, or its target has its share, the connection is
/// counted with its target's others from here on, so that its opening and its close meet in one place.
#[inline(always)]
pub(crate) fn totals(peer: &mut PeerKey) -> Option<*mut PeerTotals> {
    if !peer.is_shared() {
        if let Some(totals) = PEERS.get_ptr_mut(&*peer) {
            return Some(totals);
        }
        if shares::take_peer(peer.target)
            && let Some(totals) = entry(&PEERS, peer)
        {
            return Some(totals);
        }
        lost(Kind::Peer, Reason::MapFull);
        *peer = PeerKey::shared(peer.target, Direction::Outbound);
    }
    let totals = entry(&SHARED, peer);
    if totals.is_none() {
        lost(Kind::Connection, Reason::MapFull);
    }
    totals
}

/// The entry of this key, made where there is none; `None` where the map is full.
#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, the empty totals would not fit the stack"
)]
fn entry<const ENTRIES: usize>(map: &Totals<ENTRIES>, key: &PeerKey) -> Option<*mut PeerTotals> {
    if let Some(totals) = map.get_ptr_mut(key) {
        return Some(totals);
    }
    // Another CPU may have inserted it meanwhile: then this fails and the look-up below finds that one.
    let _exists = map.insert(key, &EMPTY, BPF_NOEXIST.into());
    map.get_ptr_mut(key)
}

/// Adds an observation to a histogram.
///
/// # Safety
/// `histogram` points into a map's value.
#[inline(always)]
pub(crate) unsafe fn observe<const BUCKETS: usize>(
    histogram: *mut Histogram<BUCKETS>,
    bounds_ns: &[u64],
    value_ns: u64,
) {
    let index = bucket(bounds_ns, value_ns);
    if index < BUCKETS {
        // SAFETY: the caller's, and the index is inside.
        unsafe {
            add((&raw mut (*histogram).buckets).cast::<u64>().add(index), 1);
            add(&raw mut (*histogram).sum_ns, value_ns);
        }
    }
}
