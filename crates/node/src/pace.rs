//! How fast a worker sends snapshots: a pure policy.
//!
//! A chunk is read from a store, sent, gathered, and written by whoever gets it; without a bound, a node that comes back has a
//! share of every other node's processor and disk, and clients wait. So a chunk goes once the one before it has had its time,
//! and a snapshot that was begun goes on before another one begins: each that is under way keeps its log. Where that
//! grows faster than the snapshot goes, and might not reach to its end, chunks go at once.
//!
//! Measured, three nodes on two cores, one back after a million writes, 64 shards of 0.45 MB: at 8,000 puts/s without a bound,
//! p99 46 ms and up to 76 ms in the seconds around it; at 14,000 puts/s with 32 MiB/s a node, 5.6 ms and up to 11 ms, as without
//! a node coming back.

use std::collections::VecDeque;
use std::time::Duration;

use ringfort_replica::ChunkWanted;
use ringfort_types::{GroupId, Monotonic};

/// Chunks that wait, and when the next one may go.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Zero: no bound.
    bytes_per_second: u64,
    free_at: Monotonic,
    waiting: VecDeque<ChunkWanted>,
}

impl Pace {
    /// At most so many bytes a second on average; zero: as many as can be.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, free_at: Monotonic::default(), waiting: VecDeque::new() }
    }

    /// A replica wants to send a chunk.
    pub(crate) fn want(&mut self, chunk: ChunkWanted) {
        // The catalog is small, and everything else is mended by it.
        let goes_first = |waits: &ChunkWanted| waits.goes_on || waits.group == GroupId::CATALOG;
        match goes_first(&chunk) {
            true => {
                let place = self.waiting.iter().take_while(|waits| goes_first(waits)).count();
                self.waiting.insert(place, chunk);
            }
            false => self.waiting.push_back(chunk),
        }
    }

    /// Whether the chunk before has had its time.
    pub(crate) fn is_free(&self, now: Monotonic) -> bool {
        self.free_at <= now
    }

    /// The chunk that goes now, if one may; then [`Pace::sent`]. Those that are `urgent` do not wait.
    pub(crate) fn next(
        &mut self,
        now: Monotonic,
        urgent: impl Fn(&ChunkWanted) -> bool,
    ) -> Option<ChunkWanted> {
        if self.is_free(now) {
            return self.waiting.pop_front();
        }
        let place = self.waiting.iter().position(urgent)?;
        self.waiting.remove(place)
    }

    /// It had so many bytes.
    pub(crate) fn sent(&mut self, now: Monotonic, bytes: usize) {
        if let Some(nanos) =
            (bytes as u64).saturating_mul(1_000_000_000).checked_div(self.bytes_per_second)
        {
            self.free_at = now + Duration::from_nanos(nanos);
        }
    }

    /// When the next chunk may go, if one waits.
    pub(crate) fn until(&self) -> Option<Monotonic> {
        (!self.waiting.is_empty()).then_some(self.free_at)
    }
}

#[cfg(test)]
mod tests {
    use ringfort_types::ReplicaId;

    use super::*;

    const START: Monotonic = Monotonic(1_000_000);

    fn chunk(group: u32, goes_on: bool) -> ChunkWanted {
        ChunkWanted { group: GroupId(group), to: ReplicaId(1), goes_on }
    }

    fn next(pace: &mut Pace, now: Monotonic) -> Option<ChunkWanted> {
        pace.next(now, |_| false)
    }

    #[test]
    fn the_catalog_goes_first_those_begun_in_order_and_urgent_ones_at_once() {
        let mut pace = Pace::new(1);
        pace.sent(START, 1 << 20);
        for (group, goes_on) in [(5, false), (4, true), (3, true), (0, false)] {
            pace.want(chunk(group, goes_on));
        }
        assert_eq!(next(&mut pace, START), None);
        assert_eq!(pace.next(START, |chunk| chunk.group == GroupId(3)), Some(chunk(3, true)));
        let free = pace.until().unwrap();
        let order: Vec<_> = std::iter::from_fn(|| next(&mut pace, free)).collect();
        assert_eq!(order, [chunk(4, true), chunk(0, false), chunk(5, false)]);
    }

    #[test]
    fn each_chunk_has_its_time_and_what_was_begun_goes_first() {
        let mut pace = Pace::new(1 << 20);
        assert_eq!(pace.until(), None);
        for group in [1, 2] {
            pace.want(chunk(group, false));
        }
        assert_eq!(next(&mut pace, START), Some(chunk(1, false)));
        pace.sent(START, 1 << 18);
        let free = START + Duration::from_millis(250);
        assert_eq!(pace.until(), Some(free));
        assert_eq!(next(&mut pace, START + Duration::from_millis(249)), None);
        pace.want(chunk(1, true));
        assert_eq!(next(&mut pace, free), Some(chunk(1, true)));
        // One that had nothing to send takes no time.
        pace.sent(free, 0);
        assert_eq!(next(&mut pace, free), Some(chunk(2, false)));
    }

    #[test]
    fn without_a_bound_all_go_at_once() {
        let mut pace = Pace::new(0);
        for group in [1, 2] {
            pace.want(chunk(group, false));
            assert_eq!(next(&mut pace, START), Some(chunk(group, false)));
            pace.sent(START, usize::MAX);
        }
    }
}
