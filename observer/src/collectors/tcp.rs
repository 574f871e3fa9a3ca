//! All TCP of a target, whatever the protocol: connections, how they ended, bytes, round-trip times.
//! The kernel half keeps the counts; this file adds up peers of one name and what open connections have done.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use observer_ebpf::{
    records::histogram::Histogram,
    records::peer::{CLOSE_REASONS, Direction, FAIL_REASONS, PeerKey, PeerTotals},
};

use super::{
    Collector, Families, Kind, Metric,
    metric::{HistogramValue, LONG, SHORT},
    peer_names::{OTHER, peer_name},
};
use crate::{
    kernel::{Kernel, OpenTotals, PeerView, Peers},
    targets::{TargetId, TargetList, over_budget::OverBudget},
};

pub(crate) static METRICS: [Metric; 11] = [
    Metric::of_target("tcp_connections", Kind::Gauge, &["direction", "peer"], "Open TCP connections."),
    Metric::of_target(
        "tcp_connections_opened_total",
        Kind::Counter,
        &["direction", "peer"],
        "TCP connections opened since the agent attached.",
    ),
    Metric::of_target(
        "tcp_connections_closed_total",
        Kind::Counter,
        &["direction", "peer", "reason"],
        "TCP connections closed, by the first thing that ended each.",
    ),
    Metric::of_target(
        "tcp_connect_failures_total",
        Kind::Counter,
        &["peer", "reason"],
        "Attempts of the target to open a TCP connection that failed.",
    ),
    Metric::of_target(
        "tcp_connect_duration_seconds",
        Kind::Histogram(SHORT),
        &["peer"],
        "Time from the first SYN until the connection was open.",
    ),
    Metric::of_target(
        "tcp_connection_duration_seconds",
        Kind::Histogram(LONG),
        &["direction", "peer"],
        "Time from open to closed on both sides; of preexisting connections, since they were adopted.",
    ),
    Metric::of_target(
        "tcp_sent_bytes_total",
        Kind::Counter,
        &["direction", "peer"],
        "Payload bytes the target sent, each once; grows while a connection lives.",
    ),
    Metric::of_target(
        "tcp_received_bytes_total",
        Kind::Counter,
        &["direction", "peer"],
        "Payload bytes the target received in order, each once; grows while a connection lives.",
    ),
    Metric::of_target(
        "tcp_retransmitted_segments_total",
        Kind::Counter,
        &["direction", "peer"],
        "Segments the target sent again, SYNs among them.",
    ),
    Metric::of_target(
        "tcp_rtt_seconds",
        Kind::Histogram(SHORT),
        &["direction", "peer"],
        "Smoothed round-trip time, sampled at most once a second while a connection carries payload.",
    ),
    Metric::of_target(
        "tcp_connections_preexisting_total",
        Kind::Counter,
        &["direction"],
        "TCP connections that were open before the agent attached.",
    ),
];

/// Where the counts come from: the kernel half, and in tests a fixed list.
pub trait ConnectionCounts: Send + Sync {
    /// Totals of closed connections, and all openings.
    fn peers(&self, view: &mut dyn PeerView) -> anyhow::Result<Peers>;
    /// What open connections have done so far; read after the totals.
    fn open(&self) -> anyhow::Result<HashMap<PeerKey, OpenTotals>>;
}

impl ConnectionCounts for Arc<Kernel> {
    fn peers(&self, view: &mut dyn PeerView) -> anyhow::Result<Peers> {
        self.counts().peers(view)
    }

    fn open(&self) -> anyhow::Result<HashMap<PeerKey, OpenTotals>> {
        self.counts().open()
    }
}

/// How many of `peers` one target may have counted apart at most.
pub const fn most_of_target(peers: u32) -> u32 {
    if peers < 2 { peers } else { peers / 2 }
}

/// Peers as they are shown: by their names.
struct View<'a>(&'a OverBudget);

impl PeerView for View<'_> {
    fn shown_as(&self, peer: &PeerKey) -> PeerKey {
        let named = PeerKey { address: [0; 16], ..*peer };
        // Those without a name have the key of those that had no place.
        if peer_name(&named) == OTHER { PeerKey { port: 0, ..named } } else { named }
    }

    fn over_budget(&mut self, target: TargetId) {
        self.0.note(target, "peers");
    }
}

/// Peers of one name in one direction.
type Group = (TargetId, u8, &'static str);

/// The section "TCP" of the metrics.
pub struct TcpCollector<C> {
    targets: Arc<dyn TargetList>,
    counts: C,
    over_budget: OverBudget,
    /// Sums as they were last shown. A connection that closes during a scrape is in neither of the two sources,
    /// and a counter must not go down.
    shown: Mutex<HashMap<Group, OpenTotals>>,
}

impl<C: ConnectionCounts> TcpCollector<C> {
    /// Shows the counts of the targets in `targets`.
    pub fn new(targets: Arc<dyn TargetList>, counts: C, over_budget: OverBudget) -> Self {
        Self { targets, counts, over_budget, shown: Mutex::default() }
    }

    /// Everything by target, direction and name.
    fn groups(&self) -> anyhow::Result<BTreeMap<Group, PeerTotals>> {
        let mut groups: BTreeMap<Group, PeerTotals> = BTreeMap::new();
        let group = |key: &PeerKey| (key.target, key.direction, peer_name(key));
        for (key, totals) in self.counts.peers(&mut View(&self.over_budget))? {
            *groups.entry(group(&key)).or_insert(PeerTotals::EMPTY) += &totals;
        }
        for (key, open) in self.counts.open()? {
            let totals = groups.entry(group(&key)).or_insert(PeerTotals::EMPTY);
            totals.sent += open.sent;
            totals.received += open.received;
            totals.retransmitted += open.retransmitted;
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|group, _| groups.contains_key(group));
        for (group, totals) in &mut groups {
            let last = shown.entry(*group).or_default();
            totals.sent = totals.sent.max(last.sent);
            totals.received = totals.received.max(last.received);
            totals.retransmitted = totals.retransmitted.max(last.retransmitted);
            (last.sent, last.received, last.retransmitted) =
                (totals.sent, totals.received, totals.retransmitted);
        }
        Ok(groups)
    }
}

impl<C: ConnectionCounts> Collector for TcpCollector<C> {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn collect(&self, families: &mut Families) -> anyhow::Result<()> {
        let mut groups = self.groups()?;
        for target in self.targets.targets().iter() {
            let labels = [target.labels.container.as_str(), target.labels.app.as_str()];
            // A target that accepts connections shows so before the first one, for rates to begin at zero.
            groups.entry((target.id, Direction::Inbound as u8, "")).or_insert(PeerTotals::EMPTY);
            let mut preexisting = [0; DIRECTIONS.len()];
            for ((_, direction, peer), totals) in groups.range((target.id, 0, "")..(target.id + 1, 0, "")) {
                let Some(direction_name) = DIRECTIONS.get(usize::from(*direction)) else {
                    continue;
                };
                preexisting[usize::from(*direction)] += totals.preexisting;
                write(families, labels, direction_name, peer, totals);
            }
            let [.., adopted] = &METRICS;
            for (direction, count) in DIRECTIONS.iter().zip(preexisting) {
                families.value(adopted, &[labels[0], labels[1], direction], count as f64);
            }
        }
        Ok(())
    }
}

/// Values of the label `direction`, by [`Direction`].
const DIRECTIONS: [&str; 2] = ["inbound", "outbound"];

/// Writes what is known of one direction and peer of a target.
fn write(families: &mut Families, of: [&str; 2], direction: &str, peer: &str, totals: &PeerTotals) {
    let [active, opened, closed, failed, connect, duration, sent, received, retransmitted, rtt, _] = &METRICS;
    let [container, app] = of;
    let labels = [container, app, direction, peer];
    families.value(active, &labels, totals.active() as f64);
    families.value(opened, &labels, totals.opened as f64);
    for (reason, count) in CLOSE_REASONS.iter().zip(totals.closed) {
        families.value(closed, &[container, app, direction, peer, reason], count as f64);
    }
    families.value(sent, &labels, totals.sent as f64);
    families.value(received, &labels, totals.received as f64);
    families.value(retransmitted, &labels, totals.retransmitted as f64);
    write_histogram(families, duration, &labels, &totals.duration);
    write_histogram(families, rtt, &labels, &totals.rtt);
    if direction == DIRECTIONS[Direction::Outbound as usize] {
        for (reason, count) in FAIL_REASONS.iter().zip(totals.failed) {
            families.value(failed, &[container, app, peer, reason], count as f64);
        }
        write_histogram(families, connect, &[container, app, peer], &totals.connect);
    }
}

/// Writes a histogram of the kernel half's, once it has an observation: most peers of most targets have none.
fn write_histogram<const BUCKETS: usize>(
    families: &mut Families,
    metric: &'static Metric,
    labels: &[&str],
    histogram: &Histogram<BUCKETS>,
) {
    if histogram.buckets.iter().any(|count| *count > 0) {
        let sum = histogram.sum_ns as f64 / 1e9;
        families.histogram(metric, labels, &HistogramValue { buckets: histogram.buckets.to_vec(), sum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::{Labels, Target, fixture::Fixed};

    type Scripted = Mutex<(Peers, HashMap<PeerKey, OpenTotals>)>;

    impl ConnectionCounts for Arc<Scripted> {
        fn peers(&self, _: &mut dyn PeerView) -> anyhow::Result<Peers> {
            Ok(self.lock().unwrap().0.clone())
        }

        fn open(&self) -> anyhow::Result<HashMap<PeerKey, OpenTotals>> {
            Ok(self.lock().unwrap().1.clone())
        }
    }

    fn collector(
        peers: Peers,
        open: &[(PeerKey, OpenTotals)],
    ) -> (TcpCollector<Arc<Scripted>>, Arc<Scripted>) {
        let target = Target {
            id: 1,
            labels: Labels { container: "web".into(), app: "lobechat".into() },
            info: crate::targets::Info::default(),
            cgroups: Vec::new(),
            restarts: 0,
        };
        let script: Arc<Scripted> = Arc::new(Mutex::new((peers, open.iter().copied().collect())));
        (
            TcpCollector::new(Arc::new(Fixed([target].into())), Arc::clone(&script), OverBudget::default()),
            script,
        )
    }

    fn text(collector: &TcpCollector<Arc<Scripted>>) -> String {
        let mut families = Families::new("chat");
        collector.collect(&mut families).unwrap();
        String::from_utf8(families.encode().unwrap()).unwrap()
    }

    fn outbound(address: u8, port: u16) -> PeerKey {
        PeerKey { port, address: [address; 16], ..PeerKey::shared(1, Direction::Outbound) }
    }

    #[test]
    fn what_is_shown_as_one_has_one_key() {
        let noted = OverBudget::default();
        let view = View(&noted);
        let keys: std::collections::HashSet<PeerKey> =
            (1..=u16::MAX).map(|port| view.shown_as(&outbound((port % 200) as u8, port))).collect();
        assert!(keys.len() < 100, "{} keys", keys.len());
        for (address, port) in [(1, 5432), (2, 40_000)] {
            let peer = outbound(address, port);
            assert_eq!(peer_name(&view.shown_as(&peer)), peer_name(&peer));
        }
    }

    #[test]
    fn peers_of_one_name_and_open_connections_add_up() {
        let closed = PeerTotals { opened: 3, closed: [2, 0, 0, 0, 0], sent: 10, ..PeerTotals::EMPTY };
        let other = PeerTotals { opened: 1, preexisting: 1, received: 7, ..PeerTotals::EMPTY };
        let (collector, _) = collector(
            vec![(outbound(1, 6379), closed), (outbound(2, 6379), other)],
            &[(outbound(2, 6379), OpenTotals { connections: 1, sent: 5, received: 2, retransmitted: 1 })],
        );
        let text = text(&collector);
        for line in [
            "chat_tcp_connections{container=\"web\",app=\"lobechat\",direction=\"outbound\",peer=\"redis\"} 3",
            "chat_tcp_sent_bytes_total{container=\"web\",app=\"lobechat\",direction=\"outbound\",peer=\"redis\"} 15",
            "chat_tcp_received_bytes_total{container=\"web\",app=\"lobechat\",direction=\"outbound\",peer=\"redis\"} 9",
            "chat_tcp_connections_preexisting_total{container=\"web\",app=\"lobechat\",direction=\"outbound\"} 1",
            "chat_tcp_connections_opened_total{container=\"web\",app=\"lobechat\",direction=\"inbound\",peer=\"\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_connection_that_closes_during_a_scrape_takes_nothing_back() {
        let open = OpenTotals { connections: 1, sent: 500, received: 300, retransmitted: 2 };
        let entry = PeerTotals { opened: 1, ..PeerTotals::EMPTY };
        let (collector, script) = collector(vec![(outbound(1, 5432), entry)], &[(outbound(1, 5432), open)]);
        let sent = |text: &str| {
            let line = text
                .lines()
                .find(|line| line.starts_with("chat_tcp_sent_bytes_total") && line.contains("post"));
            line.and_then(|line| line.rsplit_once(' ')).map(|(_, value)| value.to_owned())
        };
        assert_eq!(sent(&text(&collector)).as_deref(), Some("500"));
        script.lock().unwrap().1.clear();
        assert_eq!(sent(&text(&collector)).as_deref(), Some("500"));
        script.lock().unwrap().0[0].1.sent = 510;
        assert_eq!(sent(&text(&collector)).as_deref(), Some("510"));
    }
}
