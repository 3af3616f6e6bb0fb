//! The counters of a shard's state, and the clock that a replica keeps for it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ringfort_types::limits::VERSION_MAX;
use ringfort_types::{Monotonic, ShardTime};

const FORMAT: u8 = 1;

/// Counters that are part of the replicated state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Raised by each write; a key's version is the revision at its write.
    pub(crate) revision: u64,
    /// The newest stamp applied.
    pub(crate) time: ShardTime,
    /// Bytes of remembered answers and sessions.
    pub(crate) retry_bytes: u64,
    /// Keys that exist.
    pub(crate) keys: u64,
    /// Bytes of those keys and their values.
    pub(crate) bytes: u64,
}

const BYTES: usize = 41;

impl Meta {
    pub(crate) fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(BYTES);
        out.put_u8(FORMAT);
        out.put_u64_le(self.revision);
        out.put_u64_le(self.time.0);
        out.put_u64_le(self.retry_bytes);
        out.put_u64_le(self.keys);
        out.put_u64_le(self.bytes);
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() != BYTES || bytes.get_u8() != FORMAT {
            return None;
        }
        let meta = Self {
            revision: bytes.get_u64_le(),
            time: ShardTime(bytes.get_u64_le()),
            retry_bytes: bytes.get_u64_le(),
            keys: bytes.get_u64_le(),
            bytes: bytes.get_u64_le(),
        };
        (meta.revision <= VERSION_MAX).then_some(meta)
    }
}

/// A replica's reckoning of its shard's time: the newest stamp it knows, advanced by its own monotonic clock. A leader
/// stamps by it; a new leader goes on from its own reckoning.
///
/// A key is due by the clock of the leader that stamped it. So that it is not gone early under another one, no replica's
/// reckoning may be ahead of the leader's whose stamps it applies: it goes back where that leader is behind, as after a
/// start, and where its own clock is the faster one. What a stamp took on its way it takes for time that has not passed.
/// Stamps themselves never fall.
#[derive(Clone, Copy, Debug)]
pub struct ShardClock {
    stamp: ShardTime,
    since: Monotonic,
}

impl ShardClock {
    /// A clock that stands at `stamp` now.
    #[must_use]
    pub fn new(stamp: ShardTime, now: Monotonic) -> Self {
        Self { stamp, since: now }
    }

    /// The shard's time now.
    #[must_use]
    pub fn now(&self, now: Monotonic) -> ShardTime {
        self.stamp.advanced_by(now.since(self.since))
    }

    /// Takes a stamp of this replica's own leadership. One that is not ahead changes nothing: re-basing on own stamps would
    /// drop the part of a millisecond that each of them drops, and the clock would fall behind.
    pub fn observe(&mut self, stamp: ShardTime, now: Monotonic) {
        if stamp > self.now(now) {
            self.follow(stamp, now);
        }
    }

    /// Takes another leader's stamp: from now on the clock stands there, also where that is back.
    pub fn follow(&mut self, stamp: ShardTime, now: Monotonic) {
        *self = Self::new(stamp, now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The story: node 1 led, node 2 came back from a start, far behind, and led; then node 1 led again. A key that node 2
    /// had given five seconds was gone after one.
    #[test]
    fn a_clock_goes_back_to_another_leaders_and_not_to_its_own_stamps() {
        let at = |seconds| Monotonic(0) + Duration::from_secs(seconds);
        let time = |seconds: u64| ShardTime(seconds * 1000);
        let mut clock = ShardClock::new(time(0), at(0));
        clock.observe(time(8), at(10));
        assert_eq!(clock.now(at(10)), time(10));
        clock.observe(time(12), at(10));
        assert_eq!(clock.now(at(10)), time(12));
        clock.follow(time(6), at(10));
        assert_eq!(clock.now(at(11)), time(7));
    }
}
