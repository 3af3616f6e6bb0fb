//! Keeps the log short: flushes the stores that hold back its oldest segment, one at a time, and records the new base.
//!
//! ```text
//!   wanted ──▶ flush under way ──▶ generation durable ──▶ Rebase record submitted ──▶ record durable
//!                  │ disk full, …                                                        │
//!                  ▼                                                                     ▼
//!               given up; wanted again by the log                            old generation removed
//! ```
//!
//! The record is the commit point: a start before it comes back to the old generation, which is still there.

use std::collections::VecDeque;

use ringfort_engine::Generation;
use ringfort_types::GroupId;

/// Which stores are to be flushed, and the one that is.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    wanted: VecDeque<GroupId>,
    under_way: Option<GroupId>,
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

    /// The next store to flush, if none is under way.
    pub(crate) fn next(&mut self) -> Option<GroupId> {
        if self.under_way.is_some() {
            return None;
        }
        self.under_way = self.wanted.pop_front();
        self.under_way
    }

    /// Takes the end of the one under way: recorded, or given up. What else was wanted is dropped with a failure, so that a
    /// full disk is not tried again at once; the log says again what it wants.
    pub(crate) fn finish(&mut self, well: bool) {
        self.under_way = None;
        if !well {
            self.wanted.clear();
        }
    }
}

/// The generation after the one that was used last.
pub(crate) fn next_generation(last: Generation) -> Generation {
    Generation(last.0 + 1)
}
