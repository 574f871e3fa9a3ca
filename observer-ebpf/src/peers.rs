//! Counts per target and peer, which outlive connections and depend on no ring.
//! All CPUs add to one entry atomically; connections open and close far less often than packets pass.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::HashMap,
    macros::btf_map,
};
use observer_ebpf::{
    histogram::{Histogram, bucket},
    lost::{Kind, Reason},
    peer::{Direction, PeerKey, PeerTotals},
};

use crate::count::{add, lost};

/// Sized by the agent (`limits.peers`); without preallocation, so that only peers in use take memory.
#[btf_map]
static PEERS: HashMap<PeerKey, PeerTotals, 16_384, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Too large for a program's stack of 512 bytes.
static EMPTY: PeerTotals = PeerTotals::EMPTY;

/// The totals of a peer; of its target's shared outbound entry where the map has no room for one of its own.
#[inline(always)]
pub(crate) fn totals(key: &PeerKey) -> Option<*mut PeerTotals> {
    if let Some(totals) = PEERS.get_ptr_mut(key) {
        return Some(totals);
    }
    // Another CPU may have inserted it meanwhile: then this fails and the look-up below finds that one.
    let _exists = PEERS.insert(key, &EMPTY, BPF_NOEXIST.into());
    if let Some(totals) = PEERS.get_ptr_mut(key) {
        return Some(totals);
    }
    lost(Kind::Peer, Reason::MapFull);
    PEERS.get_ptr_mut(PeerKey::shared(key.target, Direction::Outbound))
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
