//! The core's own randomness, from the bits it was given: cluster ids, and the spread of questions.

use std::time::Duration;

/// Two streams of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(super) struct Random {
    high: u64,
    low: u64,
}

impl Random {
    pub(super) fn new(seed: u128) -> Self {
        let low = u64::try_from(seed & u128::from(u64::MAX)).unwrap_or_default();
        Self { high: u64::try_from(seed >> 64).unwrap_or_default(), low }
    }

    /// As many random bits as the seed had.
    pub(super) fn bits(&mut self) -> u128 {
        u128::from(step(&mut self.high)) << 64 | u128::from(step(&mut self.low))
    }

    /// A time from three quarters of a duration to all of it.
    pub(super) fn spread(&mut self, duration: Duration) -> Duration {
        let nanos = u64::try_from(duration.as_nanos() / 4).unwrap_or(u64::MAX);
        let less = if nanos == 0 { 0 } else { step(&mut self.low) % nanos };
        duration.saturating_sub(Duration::from_nanos(less))
    }
}

fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
