//! Histograms in whole numbers, as exchanges are counted: nanoseconds and bytes in, seconds only at a scrape.
//! Their bounds are those of the metrics.

use observer_ebpf::records::histogram::bucket;

use crate::collectors::metric::HistogramValue;

/// Bounds of requests in nanoseconds.
pub(super) const REQUEST_NS: [u64; 16] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];
/// Bounds of sizes in bytes.
pub(super) const SIZE_BYTES: [u64; 10] =
    [1 << 8, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26];

/// Observations per bucket, the last one above every bound.
#[derive(Clone, Debug)]
pub(in crate::collectors) struct Buckets<const BUCKETS: usize> {
    counts: [u64; BUCKETS],
    /// Of thousands of streams that last for hours: 64 bits of nanoseconds are full within weeks.
    sum: u128,
}

/// Over [`REQUEST_NS`].
pub(in crate::collectors) type RequestTimes = Buckets<{ REQUEST_NS.len() + 1 }>;
/// Over [`SIZE_BYTES`].
pub(in crate::collectors) type Sizes = Buckets<{ SIZE_BYTES.len() + 1 }>;
/// Over [`observer_ebpf::records::histogram::LONG_NS`].
pub(in crate::collectors) type LongTimes = Buckets<{ observer_ebpf::records::histogram::LONG_NS.len() + 1 }>;
/// Over [`observer_ebpf::records::histogram::GAP_NS`].
pub(in crate::collectors) type Gaps = Buckets<{ observer_ebpf::records::histogram::GAP_NS.len() + 1 }>;

impl<const BUCKETS: usize> Default for Buckets<BUCKETS> {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], sum: 0 }
    }
}

impl<const BUCKETS: usize> Buckets<BUCKETS> {
    /// Adds one observation; `bounds` are one less than there are buckets.
    pub(super) fn observe(&mut self, bounds: &[u64], value: u64) {
        if let Some(count) = self.counts.get_mut(bucket(bounds, value)) {
            *count += 1;
            self.sum += u128::from(value);
        }
    }

    /// Adds what was counted elsewhere.
    pub(super) fn add(&mut self, counts: &[u32; BUCKETS], sum: u64) {
        self.counts.iter_mut().zip(counts).for_each(|(to, count)| *to += u64::from(*count));
        self.sum += u128::from(sum);
    }

    /// The value of a metric in seconds.
    pub(in crate::collectors) fn seconds(&self) -> HistogramValue {
        HistogramValue { buckets: self.counts.to_vec(), sum: self.sum as f64 / 1e9 }
    }

    /// The value of a metric in bytes.
    pub(in crate::collectors) fn bytes(&self) -> HistogramValue {
        HistogramValue { buckets: self.counts.to_vec(), sum: self.sum as f64 }
    }
}

#[cfg(test)]
mod tests {
    use observer_ebpf::records::histogram::{GAP_NS, LONG_NS};

    use super::*;
    use crate::collectors::metric::{GAP, LONG, REQUEST, SIZE};

    #[test]
    fn bounds_are_those_of_the_metrics() {
        let scaled =
            |bounds: &[u64], by: f64| bounds.iter().map(|bound| *bound as f64 / by).collect::<Vec<_>>();
        assert_eq!(scaled(&REQUEST_NS, 1e9), REQUEST);
        assert_eq!(scaled(&SIZE_BYTES, 1.0), SIZE);
        assert_eq!(scaled(&GAP_NS, 1e9), GAP);
        assert_eq!(scaled(&LONG_NS, 1e9), LONG);
    }

    #[test]
    fn observations_and_counts_add_up_beyond_64_bits() {
        let mut times = Gaps::default();
        times.observe(&GAP_NS, 1_000_000);
        let mut counts = [0; GAP_NS.len() + 1];
        counts[14] = 2;
        times.add(&counts, u64::MAX);
        times.add(&counts, u64::MAX);
        let value = times.seconds();
        assert_eq!((value.buckets[0], value.buckets[14]), (1, 4));
        assert!(value.sum > 3.6e10, "{}", value.sum);
    }
}
