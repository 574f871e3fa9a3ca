//! Names of the peers that a target connects to, as far as the port tells.
//! Closed list: an address never becomes a label.

use observer_ebpf::records::peer::{Direction, PeerKey};

/// The name of those that have none.
pub(crate) const OTHER: &str = "other";

/// Services that chat applications use, by the port that they are known for: IANA's registry, else the service's
/// own documentation. In the order of their ports.
const SERVICES: &[(u16, &str)] = &[
    (25, "smtp"),
    (53, "dns"),
    (80, "http"),
    (443, "https"),
    (465, "smtp"),
    (587, "smtp"),
    (3306, "mysql"),
    (4317, "otlp"),
    (4318, "otlp"),
    (5432, "postgresql"),
    (5672, "amqp"),
    (6333, "qdrant"),
    (6334, "qdrant"),
    (6379, "redis"),
    (6380, "redis"),
    (7700, "meilisearch"),
    (8123, "clickhouse"),
    (9092, "kafka"),
    (9200, "elasticsearch"),
    (11211, "memcached"),
    (11434, "ollama"),
    (19530, "milvus"),
    (27017, "mongodb"),
];

/// The value of the label `peer`: empty for inbound, `other` where the port is of no service above.
pub(crate) fn peer_name(peer: &PeerKey) -> &'static str {
    if peer.direction == Direction::Inbound as u8 {
        return "";
    }
    let known = SERVICES.binary_search_by_key(&peer.port, |(port, _)| *port);
    known.map_or(OTHER, |index| SERVICES[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_ports_of_outbound_peers_have_names() {
        assert!(SERVICES.is_sorted_by_key(|(port, _)| *port), "the look-up is a binary search");
        let peer = |direction, port| PeerKey { port, ..PeerKey::shared(1, direction) };
        assert_eq!(peer_name(&peer(Direction::Inbound, 0)), "");
        assert_eq!(peer_name(&peer(Direction::Outbound, 6379)), "redis");
        assert_eq!(peer_name(&peer(Direction::Outbound, 0)), "other");
        assert_eq!(peer_name(&peer(Direction::Outbound, 40_000)), "other");
    }
}
