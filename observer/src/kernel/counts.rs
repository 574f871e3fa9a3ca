//! Reads what the kernel half has counted: per peer, per open connection, and what was lost.
//! Nothing here depends on the ring.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use anyhow::Context as _;
use aya::maps::{MapData, PerCpuArray};
use observer_ebpf::{
    records::exchange::Exchange,
    records::given_up::CAUSES,
    records::l7::PROTOCOLS,
    records::loss::{self, KINDS, REASONS},
    records::open_connection::OpenConnection,
    records::peer::{PeerKey, PeerTotals},
};

use super::{places::Places, shares::Shares, sys, walk::Walk};
use crate::targets::TargetId;

/// Entries that one look-up of the map of peers asks for.
const BATCH: u32 = 256;

/// Totals per peer, in no order.
pub type Peers = Vec<(PeerKey, PeerTotals)>;

/// What the connections that are open now have done so far, per peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenTotals {
    /// How many they are.
    pub connections: u64,
    /// Payload bytes sent.
    pub sent: u64,
    /// Payload bytes received.
    pub received: u64,
    /// Segments sent again.
    pub retransmitted: u64,
}

/// What whoever shows peers knows of them.
pub trait PeerView {
    /// The key of all peers that are shown as this one is. There are few of them for a target, whatever its peers are.
    fn shown_as(&self, peer: &PeerKey) -> PeerKey;
    /// Takes note that a target has as many peers as it may: further ones are counted together.
    fn over_budget(&mut self, target: TargetId);
}

/// One kind of loss and its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// What was lost.
    pub kind: &'static str,
    /// Why.
    pub reason: &'static str,
    /// How often.
    pub count: u64,
}

/// The maps that hold counts.
pub struct Counts {
    peers: MapData,
    /// Totals of connections that are not counted by peer.
    shared: MapData,
    entries_of: Shares,
    /// Entries that the map of peers has room for, in all and of one target.
    capacity: [usize; 2],
    /// Over the open connections.
    connections: Walk,
    /// Over the exchanges that are under way.
    exchanges: Walk,
    places: Places,
    l7_bytes: PerCpuArray<MapData, u64>,
    lost: PerCpuArray<MapData, u64>,
    given_up: PerCpuArray<MapData, u64>,
    /// What the kernel's entries do not know: connections that the agent adopted, and entries taken out of the map.
    besides: Mutex<HashMap<PeerKey, PeerTotals>>,
}

/// How many entries each target has.
fn by_target(peers: &Peers) -> BTreeMap<TargetId, u64> {
    let mut entries = BTreeMap::new();
    for (key, _) in peers {
        *entries.entry(key.target).or_default() += 1;
    }
    entries
}

impl Counts {
    /// `peers` and `shared` are the maps of totals; `capacity` is how many entries `peers` has room for, in all and of one target,
    /// and `entries_of` says how many each has.
    pub(super) fn new(
        [peers, shared]: [MapData; 2],
        entries_of: Shares,
        capacity: [u32; 2],
        [connections, exchanges]: [Walk; 2],
        places: Places,
        [l7_bytes, lost, given_up]: [PerCpuArray<MapData, u64>; 3],
    ) -> Self {
        let capacity = capacity.map(|entries| entries as usize);
        let besides = Mutex::default();
        Self {
            peers,
            shared,
            entries_of,
            capacity,
            connections,
            exchanges,
            places,
            l7_bytes,
            lost,
            given_up,
            besides,
        }
    }

    pub(super) fn add_adopted(&self, adopted: Vec<PeerKey>) {
        let mut besides = self.besides.lock().unwrap_or_else(PoisonError::into_inner);
        for peer in adopted {
            besides.entry(peer).or_insert(PeerTotals::EMPTY).preexisting += 1;
        }
    }

    /// Totals of closed connections, and all openings, per peer; a peer may have two entries. Read before
    /// [`Counts::open`], so that a connection that closes between the two is missed in one scrape and never
    /// counted twice.
    pub fn peers(&self, view: &mut dyn PeerView) -> anyhow::Result<Peers> {
        let mut besides = self.besides.lock().unwrap_or_else(PoisonError::into_inner);
        let mut peers: Peers = sys::look_up_all(sys::map_descriptor(&self.peers), BATCH)
            .context("cannot read the map of peers")?;
        let [all, of_target] = self.capacity;
        let mut entries = by_target(&peers);
        let is_full = peers.len() > all / 4 * 3;
        let many: BTreeSet<TargetId> = entries
            .iter()
            .filter(|(_, count)| is_full || **count > (of_target / 4 * 3) as u64)
            .map(|(target, _)| *target)
            .collect();
        for (target, _) in entries.iter().filter(|(_, count)| **count >= of_target as u64) {
            view.over_budget(*target);
        }
        if !many.is_empty() {
            self.retire_idle(&mut peers, &many, &mut besides, view);
            entries = by_target(&peers);
        }
        self.entries_of.settle(&entries)?;
        let shared: Peers = sys::look_up_all(sys::map_descriptor(&self.shared), BATCH)
            .context("cannot read the map of shared counts")?;
        peers.extend(shared);
        peers.extend(besides.iter().map(|(key, totals)| (*key, *totals)));
        Ok(peers)
    }

    /// Makes room in the map: peers of these targets without an open connection move out of it, to an entry for all that are
    /// shown as one.
    fn retire_idle(
        &self,
        peers: &mut Peers,
        of: &BTreeSet<TargetId>,
        besides: &mut HashMap<PeerKey, PeerTotals>,
        view: &dyn PeerView,
    ) {
        peers.retain(|(key, totals)| {
            if totals.active() > 0 || !of.contains(&key.target) {
                return true;
            }
            // Read again as it is taken out: a connection may have opened since.
            match sys::take_element::<_, PeerTotals>(sys::map_descriptor(&self.peers), key) {
                Ok(Some(totals)) => {
                    *besides.entry(view.shown_as(key)).or_insert(PeerTotals::EMPTY) += &totals;
                    false
                }
                Ok(None) | Err(_) => true,
            }
        });
    }

    /// Deletes what is kept of a target that is no longer shown.
    pub(super) fn forget(&self, target: u32) -> anyhow::Result<()> {
        let mut besides = self.besides.lock().unwrap_or_else(PoisonError::into_inner);
        besides.retain(|key, _| key.target != target);
        for map in [&self.peers, &self.shared].map(sys::map_descriptor) {
            let peers: Peers = sys::look_up_all(map, BATCH).context("cannot read the map of peers")?;
            for (key, _) in peers.iter().filter(|(key, _)| key.target == target) {
                sys::delete_element(map, key).context("cannot delete from the map of peers")?;
            }
        }
        Ok(())
    }

    /// What open connections have done so far. Empty on kernels that cannot iterate over socket storage.
    pub fn open(&self) -> anyhow::Result<HashMap<PeerKey, OpenTotals>> {
        let mut totals: HashMap<PeerKey, OpenTotals> = HashMap::new();
        self.walk(|connection| {
            let entry = totals.entry(connection.peer).or_default();
            entry.connections += 1;
            entry.sent += connection.sent;
            entry.received += connection.received;
            entry.retransmitted += u64::from(connection.retransmitted);
        })?;
        Ok(totals)
    }

    /// Calls `visit` for every open connection.
    pub fn walk(&self, visit: impl FnMut(&OpenConnection)) -> anyhow::Result<()> {
        if !self.connections.is_attached() {
            return Ok(());
        }
        self.places.walk_connections(|| self.connections.each(visit))
    }

    /// Whether open connections can be walked over.
    pub fn walks(&self) -> bool {
        self.connections.is_attached()
    }

    /// Calls `visit` for every exchange that is under way. Nothing on kernels that cannot iterate over socket storage.
    pub fn walk_exchanges(&self, visit: impl FnMut(&Exchange)) -> anyhow::Result<()> {
        if !self.exchanges.is_attached() {
            return Ok(());
        }
        self.places.recount(|| self.exchanges.each(visit))
    }

    /// Counts the connections whose HTTP is followed, where not many more can be.
    pub fn recount_followed(&self) -> anyhow::Result<()> {
        if self.places.are_few() { self.walk_exchanges(|_| {}) } else { Ok(()) }
    }

    /// Payload bytes by what the kernel half took them for: the label value and the count.
    pub fn l7_bytes(&self) -> anyhow::Result<[(&'static str, u64); PROTOCOLS.len()]> {
        let mut bytes = PROTOCOLS.map(|protocol| (protocol, 0));
        for (cell, (_, count)) in (0..).zip(&mut bytes) {
            let per_cpu =
                self.l7_bytes.get(&cell, 0).context("cannot read the counts of bytes by protocol")?;
            *count = per_cpu.iter().sum();
        }
        Ok(bytes)
    }

    /// Connections that were given up: the label value of the cause and the count.
    pub fn given_up(&self) -> anyhow::Result<[(&'static str, u64); CAUSES.len()]> {
        let mut counts = CAUSES.map(|(_, name)| (name, 0));
        for ((cause, _), (_, count)) in CAUSES.iter().zip(&mut counts) {
            let per_cpu = self
                .given_up
                .get(&(*cause as u32), 0)
                .context("cannot read the counts of connections that were given up")?;
            *count = per_cpu.iter().sum();
        }
        Ok(counts)
    }

    /// What the kernel half could not send or keep.
    pub fn lost(&self) -> anyhow::Result<Vec<Lost>> {
        let cells = KINDS.iter().flat_map(|kind| REASONS.iter().map(move |reason| (*kind, *reason)));
        let read = cells.map(|((kind, kind_name), (reason, reason_name))| {
            let per_cpu =
                self.lost.get(&loss::cell(kind, reason), 0).context("cannot read the counts of losses")?;
            Ok(Lost { kind: kind_name, reason: reason_name, count: per_cpu.iter().sum() })
        });
        read.collect()
    }
}
