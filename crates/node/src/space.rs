//! When a node may grow: a pure decision over what the disk reports.

/// What the disk reports, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Free for us.
    pub free: u64,
}

/// Decides whether writes that grow the data are admitted. Deletes always are: they are how a full disk heals.
///
/// The reserve is what a node needs to keep going: a snapshot of its largest shard and four segments of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpacePolicy {
    /// Size of a log segment, in bytes.
    pub segment_bytes: u64,
}

/// Segments' worth of space that is kept free.
const RESERVE_SEGMENTS: u64 = 4;

impl SpacePolicy {
    /// Bytes that must stay free.
    #[must_use]
    pub fn reserve(&self, largest_shard_bytes: u64) -> u64 {
        (RESERVE_SEGMENTS * self.segment_bytes).saturating_add(largest_shard_bytes)
    }

    /// Whether growth is admitted.
    #[must_use]
    pub fn may_grow(&self, space: Space, largest_shard_bytes: u64) -> bool {
        space.free > self.reserve(largest_shard_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_stops_at_the_reserve_and_resumes_above_it() {
        let policy = SpacePolicy { segment_bytes: 64 };
        assert!(!policy.may_grow(Space { free: 256 }, 0));
        assert!(policy.may_grow(Space { free: 257 }, 0));
        assert!(!policy.may_grow(Space { free: 257 }, 1));
    }
}
