//! Pauses that grow and are spread, so that those who failed together do not come back together.

use std::time::Duration;

/// The first pause, at most.
pub const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause.
pub const PAUSE_MAX: Duration = Duration::from_millis(200);

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// How often a pause was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pauses(u8);

impl Pauses {
    /// The next pause: twice the one before up to [`PAUSE_MAX`], of which the latter half is spread.
    pub(crate) fn next(&mut self, random: &mut Random) -> Duration {
        let whole = PAUSE_MIN.saturating_mul(1 << self.0.min(8)).min(PAUSE_MAX);
        self.0 = self.0.saturating_add(1);
        let half = whole / 2;
        let spread = random.next() % u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_nanos(spread)
    }
}
