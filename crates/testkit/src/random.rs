//! Seeded choices.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

/// A small generator (SplitMix64): good enough to choose with, the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A stream of its own for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream for a part, so that parts do not change each other's choices.
    #[must_use]
    pub fn fork(&self, part: u64) -> Self {
        let mut child = Self(self.0 ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93));
        child.next();
        child
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)] // an endless stream is no iterator one would collect
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    ///
    /// # Panics
    /// `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "there is no number below 0");
        self.next() % end
    }

    /// True this many times in a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The seed of `RINGFORT_SEED`, else one of the clock's. A test prints it, so that it can be given again.
///
/// # Errors
/// The variable is set to something else than a number.
pub fn seed_from_environment() -> Result<u64> {
    match std::env::var("RINGFORT_SEED") {
        Ok(text) => text.parse().with_context(|| format!("RINGFORT_SEED={text} is no number")),
        Err(_) => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
            Ok(u64::from(since.subsec_nanos()) ^ (since.as_secs() << 30))
        }
    }
}
