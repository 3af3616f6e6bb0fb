//! Names of forwarded requests.

use std::fmt;

/// A request that a worker has sent to another node, as that worker names it. The worker stands in the high 16 bits, so that
/// an answer finds it; the counter in the low 48.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

const COUNTER_BITS: u32 = 48;

impl RequestId {
    /// The largest counter.
    pub const COUNTER_MAX: u64 = (1 << COUNTER_BITS) - 1;

    /// The name of a worker's request. A counter beyond [`RequestId::COUNTER_MAX`] begins again at 0.
    #[must_use]
    pub fn new(worker: u16, counter: u64) -> Self {
        Self(u64::from(worker) << COUNTER_BITS | (counter & Self::COUNTER_MAX))
    }

    /// Whose request it is.
    #[must_use]
    pub fn worker(self) -> u16 {
        // Sixteen bits are left.
        u16::try_from(self.0 >> COUNTER_BITS).unwrap_or(u16::MAX)
    }

    /// Which of that worker's.
    #[must_use]
    pub fn counter(self) -> u64 {
        self.0 & Self::COUNTER_MAX
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.worker(), self.counter())
    }
}
