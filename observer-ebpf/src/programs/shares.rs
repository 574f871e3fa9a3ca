//! Shares of maps that all targets fill: none may have so much of one that others find no room.
//! The agent writes how many entries each target has when it reads the map; programs add those that come meanwhile.

use aya_ebpf::{Global, bindings::BPF_NOEXIST, btf_maps::HashMap, macros::btf_map};

use crate::count::add;

/// Counts the entries of each target, by its number.
type Shares = HashMap<u32, u64, 8192>;

/// Counts those of `PROCESSES`. Preallocated, as programs of its type need it on kernels before 6.1.
#[btf_map]
static PROCESS_SHARES: Shares = HashMap::new();

/// Counts those of `PEERS`.
#[btf_map]
static PEER_SHARES: Shares = HashMap::new();

/// Bounds what one target may have of `PROCESSES`.
#[unsafe(no_mangle)]
static PROCESS_SHARE: Global<u64> = Global::new(512);

/// Bounds what one target may have of `PEERS`.
#[unsafe(no_mangle)]
static PEER_SHARE: Global<u64> = Global::new(8192);

/// Takes a place for a process of the target; false where its share is used up.
#[inline(always)]
pub(crate) fn take_process(target: u32) -> bool {
    take(&PROCESS_SHARES, target, PROCESS_SHARE.load())
}

/// Takes a place for a peer of the target; false where its share is used up.
#[inline(always)]
pub(crate) fn take_peer(target: u32) -> bool {
    take(&PEER_SHARES, target, PEER_SHARE.load())
}

#[inline(always)]
fn take(shares: &Shares, target: u32, most: u64) -> bool {
    let Some(taken) = shares.get_ptr_mut(target) else {
        // Where another CPU inserts it at the same time, one of the two is not counted until the agent looks.
        let _full = shares.insert(target, 1, BPF_NOEXIST.into());
        return true;
    };
    // SAFETY: a value of the map.
    unsafe {
        if taken.read_volatile() >= most {
            return false;
        }
        add(taken, 1);
    }
    true
}
