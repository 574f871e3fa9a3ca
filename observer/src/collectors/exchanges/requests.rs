//! What is counted of the requests of one route and method.

use observer_ebpf::records::exchange::Exchange;

use super::histogram::{REQUEST_NS, RequestTimes, SIZE_BYTES, Sizes};
use crate::exchanges::http::{elapsed, status_code};

/// Requests of one route and method.
#[derive(Debug, Default)]
pub(in crate::collectors) struct Requests {
    /// How many, by status code; few enough to be searched one by one.
    pub(in crate::collectors) statuses: Vec<(u16, u64)>,
    /// From the first byte of the request to the last of the response.
    pub(in crate::collectors) duration: RequestTimes,
    /// From the first byte of the request to the first of the response.
    pub(in crate::collectors) first_byte: RequestTimes,
    /// Bodies of requests.
    pub(in crate::collectors) request_size: Sizes,
    /// Bodies of responses.
    pub(in crate::collectors) response_size: Sizes,
}

impl Requests {
    /// Counts a request that has ended. One that was not answered has no times and sizes, and one of which bytes
    /// were missed has no sizes.
    pub(super) fn ended(&mut self, exchange: &Exchange) {
        *count_of(&mut self.statuses, status_code(exchange)) += 1;
        if exchange.status == 0 {
            return;
        }
        self.duration.observe(&REQUEST_NS, exchange.ended_ns.saturating_sub(exchange.started_ns));
        if let Some(first_byte) = elapsed(exchange.started_ns, exchange.response_ns) {
            self.first_byte.observe(&REQUEST_NS, first_byte);
        }
        self.request_size.observe(&SIZE_BYTES, exchange.request_bytes);
        self.response_size.observe(&SIZE_BYTES, exchange.response_bytes);
    }
}

/// The count of a key in a short list.
pub(super) fn count_of<K: Copy + PartialEq>(counts: &mut Vec<(K, u64)>, key: K) -> &mut u64 {
    let index = counts.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
        counts.push((key, 0));
        counts.len() - 1
    });
    &mut counts[index].1
}

#[cfg(test)]
mod tests {
    use observer_ebpf::records::exchange::Outcome;

    use super::*;
    use crate::exchanges::fixture::exchange;

    fn observations(value: &crate::collectors::metric::HistogramValue) -> u64 {
        value.buckets.iter().sum()
    }

    #[test]
    fn an_answered_request_has_times_and_sizes() {
        let mut requests = Requests::default();
        requests.ended(&exchange());
        requests.ended(&Exchange { status: 404, ..exchange() });
        assert_eq!(requests.statuses, [(200, 1), (404, 1)]);
        assert!((requests.duration.seconds().sum - 0.1).abs() < 1e-9);
        assert!((requests.first_byte.seconds().sum - 0.04).abs() < 1e-9);
        assert!((requests.request_size.bytes().sum - 200.0).abs() < 1e-9);
        assert!((requests.response_size.bytes().sum - 4000.0).abs() < 1e-9);
    }

    #[test]
    fn an_unanswered_request_is_counted_and_has_no_times() {
        let mut requests = Requests::default();
        let left = Exchange { status: 0, response_ns: 0, outcome: Outcome::ClientAbort as u8, ..exchange() };
        requests.ended(&left);
        requests.ended(&Exchange { outcome: Outcome::ServerAbort as u8, ..left });
        assert_eq!(requests.statuses, [(499, 1), (0, 1)]);
        assert_eq!(observations(&requests.duration.seconds()), 0);
        assert_eq!(observations(&requests.response_size.bytes()), 0);
    }
}
