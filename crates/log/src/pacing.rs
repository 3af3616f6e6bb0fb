//! When the next batch starts: a pure policy.
//!
//! A batch costs a sync, whose time and CPU hardly depend on how much it covers. With few operations waiting there is no
//! company to wait for, and the batch starts at once. With many, the clients answered by the last batch are about to come
//! back with their next operations; a batch that waits for most of them halves the number of syncs, and those that wait
//! lose less than they would by missing the batch. So it waits until most of the expected company is there, for at most a
//! part of the time that a sync takes.

use std::time::Duration;

use ringfort_types::Monotonic;

/// With no more operations than this, nobody waits.
const FEW_OPERATIONS: u64 = 4;
/// Weight of the past in moving averages: 7 of 8.
const SMOOTHING: u64 = 8;

/// What is known of the recent past.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacing {
    delay_max: Duration,
    /// Moving average of the time from a batch's start to its durability, in nanoseconds.
    sync_nanos: u64,
    /// Moving average of operations under way: in a batch, or waiting when it ended. In eighths.
    company: u64,
}

impl Pacing {
    pub(crate) fn new(delay_max: Duration) -> Self {
        Self { delay_max, sync_nanos: 0, company: 0 }
    }

    /// A batch of so many operations became durable; so many others waited by then.
    pub(crate) fn observe(&mut self, operations: u64, waiting: u64, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sync_nanos = self.sync_nanos - self.sync_nanos / SMOOTHING + nanos / SMOOTHING;
        self.company = self.company - self.company / SMOOTHING + operations + waiting;
    }

    /// When a batch of `waiting` operations should start that could have started at `since`.
    pub(crate) fn due(&self, waiting: u64, since: Monotonic) -> Monotonic {
        let company = self.company / SMOOTHING;
        let enough = waiting <= FEW_OPERATIONS || waiting * 4 >= company * 3;
        if enough {
            return since;
        }
        let worth = Duration::from_nanos(self.sync_nanos / 2);
        since + worth.min(self.delay_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Monotonic = Monotonic(1_000_000);
    const SYNC: Duration = Duration::from_micros(400);

    fn busy(delay_max: Duration) -> Pacing {
        let mut pacing = Pacing::new(delay_max);
        for _ in 0..100 {
            pacing.observe(32, 32, SYNC);
        }
        pacing
    }

    #[test]
    fn few_operations_start_at_once() {
        let pacing = busy(Duration::from_millis(1));
        assert_eq!(pacing.due(1, START), START);
        assert_eq!(pacing.due(FEW_OPERATIONS, START), START);
        assert_eq!(Pacing::new(Duration::from_millis(1)).due(30, START), START);
    }

    #[test]
    fn many_wait_for_most_of_the_company_and_no_longer_than_half_a_sync() {
        let pacing = busy(Duration::from_millis(1));
        let due = pacing.due(20, START);
        assert!(due > START + SYNC / 3 && due <= START + SYNC / 2, "{due:?}");
        assert_eq!(pacing.due(60, START), START, "most of 64 are there");
    }

    #[test]
    fn the_longest_delay_is_kept() {
        let pacing = busy(Duration::from_micros(50));
        assert_eq!(pacing.due(20, START), START + Duration::from_micros(50));
        assert_eq!(busy(Duration::ZERO).due(20, START), START);
    }
}
