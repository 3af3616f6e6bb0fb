//! A histogram of times: a plain array, kept by one thread and added up with those of others.

use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// Buckets of the latency histogram: powers of two from 32 microseconds to about 16.8 seconds.
const BUCKETS: usize = 20;
const FIRST_BUCKET_LOG2: u32 = 5;

/// How long things of one kind took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latencies {
    /// How many fell into each bucket; what is above the last is in `count` only.
    buckets: [u64; BUCKETS],
    count: u64,
    sum: Duration,
}

impl Latencies {
    pub(crate) fn observe(&mut self, elapsed: Duration) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let log2_ceil = u64::BITS - micros.saturating_sub(1).leading_zeros();
        let bucket = log2_ceil.saturating_sub(FIRST_BUCKET_LOG2) as usize;
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum += elapsed;
    }

    /// Those of another thread, too.
    pub(super) fn add(&mut self, other: &Self) {
        for (mine, others) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += others;
        }
        self.count += other.count;
        self.sum += other.sum;
    }

    /// Whether nothing took any time yet.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Writes the histogram.
    pub(super) fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let bound = |bucket: usize| {
            Duration::from_micros(1 << (FIRST_BUCKET_LOG2 as usize + bucket)).as_secs_f64()
        };
        let mut buckets: Vec<(f64, u64)> = self
            .buckets
            .iter()
            .enumerate()
            .map(|(bucket, count)| (bound(bucket), *count))
            .collect();
        let above = self.count - self.buckets.iter().sum::<u64>();
        buckets.push((f64::INFINITY, above));
        encoder.encode_histogram::<NoLabelSet>(self.sum.as_secs_f64(), self.count, &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        for (micros, bucket) in [(0, 0), (1, 0), (32, 0), (33, 1), (64, 1), (65, 2), (1 << 24, 19)]
        {
            let mut latencies = Latencies::default();
            latencies.observe(Duration::from_micros(micros));
            assert_eq!(latencies.buckets[bucket], 1, "{micros} us");
        }
        let mut latencies = Latencies::default();
        latencies.observe(Duration::from_secs(60));
        assert_eq!((latencies.buckets.iter().sum::<u64>(), latencies.count), (0, 1));
    }
}
