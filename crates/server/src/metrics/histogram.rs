//! Histograms with fixed buckets: plain arrays, kept by one thread and added up with those of others.

use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// Buckets of a histogram; the bound of each is twice that of the one before.
const BUCKETS: usize = 20;

/// Buckets of powers of two from `2^FIRST_LOG2` on.
#[derive(Clone, Copy, Debug, Default)]
struct Buckets<const FIRST_LOG2: u32> {
    /// How many fell into each; what is above the last is in `count` only.
    buckets: [u64; BUCKETS],
    count: u64,
}

/// How long things of one kind took: from 32 microseconds to about 16.8 seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latencies {
    micros: Buckets<5>,
    sum: Duration,
}

/// How large things of one kind were, in bytes or by number: from `2^FIRST_LOG2` to half a million times that.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes<const FIRST_LOG2: u32> {
    sizes: Buckets<FIRST_LOG2>,
    sum: u64,
}

impl Latencies {
    pub(crate) fn observe(&mut self, elapsed: Duration) {
        self.micros.observe(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
        self.sum += elapsed;
    }

    /// Those of another thread, too.
    pub(super) fn add(&mut self, other: &Self) {
        for (mine, others) in self.micros.buckets.iter_mut().zip(other.micros.buckets) {
            *mine += others;
        }
        self.micros.count += other.micros.count;
        self.sum += other.sum;
    }

    /// Whether nothing took any time yet.
    pub(super) fn is_empty(&self) -> bool {
        self.micros.count == 0
    }

    /// Writes the histogram, in seconds.
    pub(super) fn encode(&self, encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let seconds = |micros| Duration::from_micros(micros).as_secs_f64();
        self.micros.encode(encoder, seconds, self.sum.as_secs_f64())
    }
}

impl<const FIRST_LOG2: u32> Sizes<FIRST_LOG2> {
    pub(crate) fn observe(&mut self, size: u64) {
        self.sizes.observe(size);
        self.sum += size;
    }

    /// Writes the histogram.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
    pub(super) fn encode(&self, encoder: MetricEncoder<'_>) -> std::fmt::Result {
        self.sizes.encode(encoder, |size| size as f64, self.sum as f64)
    }
}

impl<const FIRST_LOG2: u32> Buckets<FIRST_LOG2> {
    fn observe(&mut self, value: u64) {
        let log2_ceil = u64::BITS - value.saturating_sub(1).leading_zeros();
        let bucket = log2_ceil.saturating_sub(FIRST_LOG2) as usize;
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            *bucket += 1;
        }
        self.count += 1;
    }

    fn encode(
        &self,
        mut encoder: MetricEncoder<'_>,
        in_unit: impl Fn(u64) -> f64,
        sum: f64,
    ) -> std::fmt::Result {
        let bound = |bucket: usize| in_unit(1 << (FIRST_LOG2 as usize + bucket));
        let mut buckets: Vec<(f64, u64)> = self
            .buckets
            .iter()
            .enumerate()
            .map(|(bucket, count)| (bound(bucket), *count))
            .collect();
        let above = self.count - self.buckets.iter().sum::<u64>();
        buckets.push((f64::INFINITY, above));
        encoder.encode_histogram::<NoLabelSet>(sum, self.count, &buckets, None)
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
            assert_eq!(latencies.micros.buckets[bucket], 1, "{micros} us");
        }
        let mut latencies = Latencies::default();
        latencies.observe(Duration::from_secs(60));
        let Buckets { buckets, count } = latencies.micros;
        assert_eq!((buckets.iter().sum::<u64>(), count), (0, 1));
    }

    #[test]
    fn a_size_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        for (size, bucket) in [(0, 0), (512, 0), (513, 1), (1024, 1), (256 << 20, 19)] {
            let mut sizes = Sizes::<9>::default();
            sizes.observe(size);
            assert_eq!((sizes.sizes.buckets[bucket], sizes.sum), (1, size), "{size}");
        }
        let mut records = Sizes::<0>::default();
        for count in [0, 1, 2, 3, 1 << 40] {
            records.observe(count);
        }
        assert_eq!((&records.sizes.buckets[..3], records.sizes.count), (&[2, 1, 1][..], 5));
    }
}
