//! The two clocks of a core. Wall clocks never enter one.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on this machine's monotonic clock that also counts while the machine sleeps (`CLOCK_BOOTTIME`), in
/// nanoseconds since an arbitrary origin. Passed into cores as `now`; comparable within one boot of one machine only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Monotonic {
    type Output = Self;

    fn add(self, rest: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Monotonic {
    type Output = Self;

    fn sub(self, rest: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A shard's own time in milliseconds: the newest stamp in its log, advanced by its leader's monotonic clock since. It
/// starts near 0, stands still while the shard has no leader, and never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardTime(pub u64);

impl ShardTime {
    /// This time advanced by whole milliseconds; what is left of a millisecond is dropped.
    #[must_use]
    pub fn advanced_by(self, passed: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Milliseconds from `earlier` to this time; 0 if `earlier` is later.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for ShardTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}
