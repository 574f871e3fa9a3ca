//! The bucket bounds of all histograms, once each: in whole numbers, as they are counted, and in the metrics' units.
//! Those that the kernel half counts in are its own.

pub use observer_ebpf::records::histogram::{GAP_NS, LONG_NS, SHORT_NS};

/// Bounds of requests in nanoseconds.
pub const REQUEST_NS: [u64; 16] = [
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
/// Bounds of calls to models in nanoseconds: 10 ms to 10 minutes.
pub const LLM_NS: [u64; 16] = [
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    120_000_000_000,
    300_000_000_000,
    600_000_000_000,
];
/// Bounds of sizes in bytes.
pub const SIZE_BYTES: [u64; 10] =
    [1 << 8, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26];

/// Short durations in seconds: connects, round trips, lookups.
pub const SHORT: &[f64] = &scaled(SHORT_NS, 1e9);
/// Long durations in seconds: connections and streams, up to an hour.
pub const LONG: &[f64] = &scaled(LONG_NS, 1e9);
/// Pauses within a stream in seconds.
pub const GAP: &[f64] = &scaled(GAP_NS, 1e9);
/// Requests in seconds.
pub const REQUEST: &[f64] = &scaled(REQUEST_NS, 1e9);
/// Calls to models in seconds.
pub const LLM: &[f64] = &scaled(LLM_NS, 1e9);
/// Messages' sizes in bytes.
pub const SIZE: &[f64] = &scaled(SIZE_BYTES, 1.0);

/// Divides each; the quotient of two numbers that a float holds exactly is the float nearest to the decimal.
const fn scaled<const N: usize>(bounds: [u64; N], by: f64) -> [f64; N] {
    let mut scaled = [0.0; N];
    let mut index = 0;
    while index < N {
        scaled[index] = bounds[index] as f64 / by;
        index += 1;
    }
    scaled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_the_decimals_of_the_metric_contract() {
        let text = |bounds: &[f64]| bounds.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(text(REQUEST), "0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 30 60");
        assert_eq!(text(LLM), "0.01 0.025 0.05 0.1 0.25 0.5 0.75 1 2.5 5 10 30 60 120 300 600");
        assert_eq!(text(LONG), "0.1 0.5 1 2.5 5 10 30 60 120 300 600 1200 1800 3600");
        assert_eq!(text(SIZE), "256 1024 4096 16384 65536 262144 1048576 4194304 16777216 67108864");
        assert_eq!(
            text(SHORT),
            "0.0001 0.00025 0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10"
        );
    }
}
