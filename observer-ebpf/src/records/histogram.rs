//! Histograms counted in the kernel, so that no observation depends on the ring.
//! Bounds are those of the metric contract; here in nanoseconds, because the kernel has no floating point.

/// Bounds of short durations: 0.1 ms to 10 s.
pub const SHORT_NS: [u64; 16] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Bounds of the gaps of a stream: 1 ms to 30 s.
pub const GAP_NS: [u64; 16] = [
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    20_000_000,
    30_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Bounds of long durations: 0.1 s to 1 h.
pub const LONG_NS: [u64; 14] = [
    100_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    120_000_000_000,
    300_000_000_000,
    600_000_000_000,
    1_200_000_000_000,
    1_800_000_000_000,
    3_600_000_000_000,
];

/// Observations per bucket, not cumulative, the last bucket above every bound; `BUCKETS` is bounds plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Histogram<const BUCKETS: usize> {
    /// How many observations fell into each bucket.
    pub buckets: [u64; BUCKETS],
    /// Sum of all observations in nanoseconds.
    pub sum_ns: u64,
}

/// Buckets of a histogram over [`GAP_NS`].
pub const GAP_BUCKETS: usize = GAP_NS.len() + 1;

/// A histogram over [`SHORT_NS`].
pub type Short = Histogram<{ SHORT_NS.len() + 1 }>;
/// A histogram over [`GAP_NS`].
pub type Gap = Histogram<GAP_BUCKETS>;
/// A histogram over [`LONG_NS`].
pub type Long = Histogram<{ LONG_NS.len() + 1 }>;

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    /// No observation.
    pub const EMPTY: Self = Self { buckets: [0; BUCKETS], sum_ns: 0 };
}

/// The bucket that `value_ns` belongs to: the first whose bound is not below it (Prometheus' `le`).
#[inline(always)]
pub fn bucket(bounds_ns: &[u64], value_ns: u64) -> usize {
    let mut index = 0;
    for bound in bounds_ns {
        if value_ns <= *bound {
            return index;
        }
        index += 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        assert_eq!(bucket(&SHORT_NS, 0), 0);
        assert_eq!(bucket(&SHORT_NS, 100_000), 0);
        assert_eq!(bucket(&SHORT_NS, 100_001), 1);
        assert_eq!(bucket(&SHORT_NS, 10_000_000_000), 15);
        assert_eq!(bucket(&SHORT_NS, 10_000_000_001), 16);
        assert_eq!(bucket(&LONG_NS, u64::MAX), LONG_NS.len());
    }

    #[test]
    fn bounds_ascend() {
        assert!(SHORT_NS.is_sorted_by(|a, b| a < b) && LONG_NS.is_sorted_by(|a, b| a < b));
    }
}
