//! Keeps the log short: flushes the stores that hold back its oldest segment, one at a time, and records the new base.
//!
//! ```text
//!   wanted ──▶ flush under way ──▶ generation durable ──▶ Rebase record submitted ──▶ record durable
//!     ▲ │          │ disk full, …                                                        │
//!     └─┘          ▼                                                                     ▼
//!   state     put off for a while                                           old generation removed
//!   ahead of
//!   the log
//! ```
//!
//! Where others commit faster than this disk writes, state is applied ahead of the own log: a flush then waits for a later
//! turn, so that no generation ever holds what the log on disk has not.
//!
//! The record is the commit point: a start before it comes back to the old generation, which is still there.

use std::collections::VecDeque;
use std::time::Duration;

use ringfort_engine::Generation;
use ringfort_types::{GroupId, Monotonic};

/// A flush that was given up is tried again after this time.
pub(crate) const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Which stores are to be flushed, and the one that is.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    wanted: VecDeque<GroupId>,
    under_way: Option<GroupId>,
    not_before: Monotonic,
}

impl Checkpoints {
    /// Takes the log's wish.
    pub(crate) fn want(&mut self, groups: impl IntoIterator<Item = GroupId>) {
        for group in groups {
            if self.under_way != Some(group) && !self.wanted.contains(&group) {
                self.wanted.push_back(group);
            }
        }
    }

    /// Whether a flush may be begun.
    pub(crate) fn is_due(&self, now: Monotonic) -> bool {
        self.under_way.is_none() && !self.wanted.is_empty() && now >= self.not_before
    }

    /// The next store to flush, if none is under way.
    pub(crate) fn next(&mut self, now: Monotonic) -> Option<GroupId> {
        if !self.is_due(now) {
            return None;
        }
        self.under_way = self.wanted.pop_front();
        self.under_way
    }

    /// Takes the end of a group's flush, if that is the one under way: it is recorded, or there was nothing to do.
    pub(crate) fn finish(&mut self, group: GroupId) {
        self.under_way.take_if(|under_way| *under_way == group);
    }

    /// Forgets a group whose replica has gone.
    pub(crate) fn forget(&mut self, group: GroupId) {
        self.finish(group);
        self.wanted.retain(|wanted| *wanted != group);
    }

    /// Takes the failure of the one under way: it is wanted still, and tried again later, for a full disk does not empty
    /// at once.
    pub(crate) fn put_off(&mut self, now: Monotonic, group: GroupId) {
        self.finish(group);
        self.not_before = now + RETRY_DELAY;
        if !self.wanted.contains(&group) {
            self.wanted.push_front(group);
        }
    }
}

/// The generation after the one that was used last.
pub(crate) fn next_generation(last: Generation) -> Generation {
    Generation(last.0 + 1)
}
