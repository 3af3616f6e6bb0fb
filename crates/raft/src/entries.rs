//! The part of a group's log that is in memory: entries not yet applied.
//!
//! ```text
//!   base            applied             last
//!    │  in the engine  │  kept here       │
//! ───┴─────────────────┴──────────────────┴──▶ index
//! ```
//!
//! Invariants: indexes are contiguous; terms never fall; the first kept entry follows the applied one.

use std::collections::VecDeque;

use ringfort_types::{Applied, Entry, Index};

/// Entries from the applied one, exclusive, to the last.
#[derive(Debug)]
pub(crate) struct Entries {
    before: Applied,
    entries: VecDeque<Entry>,
}

impl Entries {
    /// A log that holds `entries` behind the position `before`.
    pub(crate) fn new(before: Applied, entries: Vec<Entry>) -> Self {
        let mut log = Self { before, entries: VecDeque::with_capacity(entries.len()) };
        for entry in entries {
            log.push(entry);
        }
        log
    }

    /// The last position.
    pub(crate) fn last(&self) -> Applied {
        self.entries
            .back()
            .map_or(self.before, |entry| Applied { index: entry.index, term: entry.term })
    }

    /// Appends the entry that follows the last one.
    pub(crate) fn push(&mut self, entry: Entry) {
        let last = self.last();
        assert_eq!(entry.index, last.index.next(), "log entries are contiguous");
        assert!(entry.term >= last.term, "terms never fall along a log");
        self.entries.push_back(entry);
    }

    /// Copies of the entries in `(after, to]`. Payloads are shared.
    pub(crate) fn range(&self, after: Index, to: Index) -> Vec<Entry> {
        let skip =
            usize::try_from(after.0.saturating_sub(self.before.index.0)).unwrap_or(usize::MAX);
        self.entries.iter().skip(skip).take_while(|entry| entry.index <= to).cloned().collect()
    }

    /// Forgets everything up to an index.
    pub(crate) fn forget(&mut self, to: Index) {
        while let Some(first) = self.entries.front().filter(|entry| entry.index <= to) {
            self.before = Applied { index: first.index, term: first.term };
            self.entries.pop_front();
        }
    }
}
