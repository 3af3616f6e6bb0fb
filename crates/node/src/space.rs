//! When a node may grow: a pure decision over what the disk reports and what the node holds.

/// What the decision rests on, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Free for us on the disk.
    pub free: u64,
    /// Size of a segment of the log.
    pub segment: u64,
    /// The largest store: what its next snapshot needs beside the one before.
    pub largest_store: u64,
    /// What is in the log and in no snapshot yet: snapshots will need that much more.
    pub unflushed: u64,
}

/// Segments' worth of space that is kept free: the log goes on while the disk heals.
const RESERVE_SEGMENTS: u64 = 4;

impl Space {
    /// Bytes that must stay free for the node to keep going: to write its log, and to flush everything it holds, which is
    /// how a log becomes short again.
    #[must_use]
    pub fn reserve(&self) -> u64 {
        let log = self.segment.saturating_mul(RESERVE_SEGMENTS);
        log.saturating_add(self.largest_store).saturating_add(self.unflushed)
    }

    /// Bytes by which the node may grow. Deletes are always admitted: they are how a full disk heals.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.free.saturating_sub(self.reserve())
    }
}

/// What a put of so many bytes of keys and values takes of the room: its place in the log, and in a snapshot later.
#[must_use]
pub(crate) fn growth(bytes: u64) -> u64 {
    const RECORD_BYTES: u64 = 128;
    bytes.saturating_mul(2).saturating_add(RECORD_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_stops_at_the_reserve_and_resumes_above_it() {
        let space = Space { free: 256, segment: 64, largest_store: 0, unflushed: 0 };
        assert_eq!(space.room(), 0);
        assert_eq!(Space { free: 300, ..space }.room(), 44);
        assert_eq!(Space { free: 300, largest_store: 40, ..space }.room(), 4);
        assert_eq!(Space { free: 300, largest_store: 40, unflushed: 40, ..space }.room(), 0);
        assert_eq!(Space { segment: u64::MAX, ..space }.room(), 0);
    }
}
