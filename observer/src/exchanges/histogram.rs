//! Histograms in whole numbers, as exchanges are counted: nanoseconds and bytes in, seconds only at a scrape.
//! Their bounds are those of the metrics.

use observer_ebpf::records::histogram::bucket;

pub(super) use crate::collectors::bounds::{GAP_NS, LLM_NS, LONG_NS, REQUEST_NS, SIZE_BYTES};
use crate::collectors::metric::HistogramValue;

/// Observations per bucket, the last one above every bound.
#[derive(Clone, Debug)]
pub(in crate::exchanges) struct Buckets<const BUCKETS: usize> {
    counts: [u64; BUCKETS],
    /// Of thousands of streams that last for hours: 64 bits of nanoseconds are full within weeks.
    sum: u128,
}

/// Over [`REQUEST_NS`].
pub(in crate::exchanges) type RequestTimes = Buckets<{ REQUEST_NS.len() + 1 }>;
/// Over [`SIZE_BYTES`].
pub(in crate::exchanges) type Sizes = Buckets<{ SIZE_BYTES.len() + 1 }>;
/// Over [`LONG_NS`].
pub(in crate::exchanges) type LongTimes = Buckets<{ LONG_NS.len() + 1 }>;
/// Over [`LLM_NS`].
pub(in crate::exchanges) type LlmTimes = Buckets<{ LLM_NS.len() + 1 }>;
/// Over [`GAP_NS`].
pub(in crate::exchanges) type Gaps = Buckets<{ GAP_NS.len() + 1 }>;

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

    /// Whether nothing was observed.
    pub(in crate::exchanges) fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// Adds what was counted elsewhere.
    pub(super) fn add(&mut self, counts: &[u32; BUCKETS], sum: u64) {
        self.counts.iter_mut().zip(counts).for_each(|(to, count)| *to += u64::from(*count));
        self.sum += u128::from(sum);
    }

    /// The value of a metric in seconds.
    pub(in crate::exchanges) fn seconds(&self) -> HistogramValue {
        HistogramValue { buckets: self.counts.to_vec(), sum: self.sum as f64 / 1e9 }
    }

    /// The value of a metric in bytes.
    pub(in crate::exchanges) fn bytes(&self) -> HistogramValue {
        HistogramValue { buckets: self.counts.to_vec(), sum: self.sum as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
