//! The shard's time as this replica reckons it: it follows the stamps of other leaders as they come into its log.
//!
//! ```text
//!   entry of another leader ──▶ log ──▶ the clock stands at the newest stamp, also where that is back ──▶ … applied
//!                                │
//!                                └── from here on this replica may lead, and stamp
//! ```
//!
//! A key is due so long after the stamp of its entry. No replica that has that entry may reckon that more time has passed
//! since than has: not when it leads, and not before the entry is applied, for whoever leads then stamps behind it. The newest
//! stamp of a log is the greatest in it: what applying reckons with.

use ringfort_raft::Position;
use ringfort_types::{Entry, FeatureLevel, Monotonic, ShardTime, Term};

use super::Replica;
use crate::command::PayloadReader;

/// A replica's reckoning of its shard's time: the newest stamp of its log, advanced by its own monotonic clock since that
/// came. A leader stamps by it; a new leader goes on from its own reckoning.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShardClock {
    /// The log was looked at up to here, and this is the newest stamp up to there.
    upto: Position,
    newest: ShardTime,
    /// It stood here, then. Ahead of what is newest where that has been replaced.
    stamp: ShardTime,
    since: Monotonic,
    /// The last term that this replica led, while it reckons on from its own stamps.
    led: Term,
}

impl ShardClock {
    /// A clock that stands at what is applied now.
    pub(super) fn new(stamp: ShardTime, now: Monotonic) -> Self {
        Self { upto: Position::default(), newest: stamp, stamp, since: now, led: Term(0) }
    }

    /// The shard's time now. What a stamp took on its way counts as time that has not passed.
    pub(super) fn now(&self, now: Monotonic) -> ShardTime {
        self.stamp.advanced_by(now.since(self.since))
    }
}

impl Replica {
    /// The shard's time now.
    #[must_use]
    pub fn shard_time(&self, now: Monotonic) -> ShardTime {
        self.clock.now(now)
    }

    /// Sets the clock by stamps that have come into the log since the last look.
    pub(super) fn follow_stamps(&mut self) {
        if self.leads() {
            self.clock.led = self.raft.leader().term;
            return;
        }
        let last = self.raft.last();
        let ShardClock { upto, newest, led, .. } = self.clock;
        if last == upto {
            return;
        }
        // Unless what was seen has been replaced: then anew from what is applied.
        let applied = self.raft.applied();
        let goes_on = upto.index > applied && self.raft.term_at(upto.index) == Some(upto.term);
        let (from, known) = match goes_on {
            true => (upto.index.next(), newest),
            false => (applied.next(), self.machine.time()),
        };
        let mut newest = known;
        let mut came = false;
        for entry in self.raft.entries_from(from) {
            let Some(stamp) = stamp_of(&entry) else { continue };
            newest = newest.max(stamp);
            // This replica reckons on from where it stamped its own.
            came |= entry.term != led;
        }
        (self.clock.upto, self.clock.newest) = (last, newest);
        if came {
            self.clock.led = Term(0);
            (self.clock.stamp, self.clock.since) = (newest, self.now);
        }
    }
}

fn stamp_of(entry: &Entry) -> Option<ShardTime> {
    // Whatever its level: the format has the stamp's place. What is no payload of commands has none; what is malformed or newer
    // stops the replica when it is to be applied.
    PayloadReader::new(entry.payload.clone(), FeatureLevel(u8::MAX)).ok().map(|reader| reader.stamp)
}
