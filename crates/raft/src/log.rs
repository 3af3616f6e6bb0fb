//! The part of a group's log that is in memory.
//!
//! ```text
//!      base         applied      commit            last
//!       │  trailing    │            │               │
//! ──────┴──────────────┴────────────┴───────────────┴──▶ index
//!  gone │ kept here: entries and their configurations
//! ```
//!
//! # Invariants
//!
//! - Indexes are contiguous, terms never fall; the first kept entry follows the base.
//! - The configurations kept are those of the kept entries, behind the one that stood at the base.
//!
//! What is durable is not known here: see `persisting`.

use std::collections::VecDeque;

use ringfort_types::{Entry, Index, Term};

use crate::configuration::Configuration;
use crate::position::Position;
use crate::room;

/// Entries from the base, exclusive, to the last.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Log {
    base: Position,
    entries: VecDeque<Entry>,
    /// Bytes that the kept entries count for.
    bytes: usize,
    /// Index of its entry and configuration, by index; the first one stands at the base or before.
    configurations: Vec<(Index, Configuration)>,
}

/// The bytes that an entry counts for in bounds: its payload, and something so that empty ones count too.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    entry.payload.len() + size_of::<Entry>()
}

impl Log {
    /// An empty log behind a position, with the configuration that stands there.
    pub(crate) fn new(base: Position, configuration: Configuration) -> Self {
        Self {
            base,
            entries: VecDeque::new(),
            bytes: 0,
            configurations: vec![(base.index, configuration)],
        }
    }

    /// Where the kept part begins, exclusive.
    pub(crate) fn base(&self) -> Position {
        self.base
    }

    /// The last position.
    pub(crate) fn last(&self) -> Position {
        self.entries.back().map_or(self.base, Position::of)
    }

    fn offset(&self, index: Index) -> Option<usize> {
        let offset = index.0.checked_sub(self.base.index.0)?.checked_sub(1)?;
        usize::try_from(offset).ok()
    }

    /// The term at an index, if it is the base or kept.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.entries.get(self.offset(index)?).map(|entry| entry.term)
    }

    /// Whether the log is known to hold a position.
    pub(crate) fn holds(&self, position: Position) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// The newest position at or before an index that is not of a later term than this: the last that may agree with a log
    /// which has that term there. The base where nothing kept qualifies.
    pub(crate) fn may_agree(&self, index: Index, term: Term) -> Position {
        let end = self.offset(index).map_or(0, |offset| (offset + 1).min(self.entries.len()));
        // Terms rise along the log.
        let count = self.entries.partition_point(|entry| entry.term <= term).min(end);
        count.checked_sub(1).and_then(|at| self.entries.get(at)).map_or(self.base, Position::of)
    }

    /// Appends the entry that follows the last one; its configuration, if it is one, counts from now on.
    pub(crate) fn push(&mut self, entry: Entry, configuration: Option<Configuration>) {
        let last = self.last();
        assert_eq!(entry.index, last.index.next(), "raft: log entries are contiguous");
        assert!(entry.term >= last.term, "raft: terms never fall along a log");
        if let Some(configuration) = configuration {
            self.configurations.push((entry.index, configuration));
        }
        self.bytes += entry_bytes(&entry);
        self.entries.push_back(entry);
    }

    /// Removes every entry from an index on, which is behind the base. Configurations among them count no more, unless
    /// they are to be kept (a mutant).
    pub(crate) fn truncate(&mut self, from: Index, keep_configurations: bool) {
        assert!(from > self.base.index, "raft: nothing is truncated at or before the base");
        let kept = self.offset(from).unwrap_or(usize::MAX).min(self.entries.len());
        self.bytes -= self.entries.drain(kept..).map(|entry| entry_bytes(&entry)).sum::<usize>();
        if !keep_configurations {
            self.configurations.retain(|(index, _)| *index < from);
        }
    }

    /// Copies of the entries from an index on, up to another one, inclusive, of so many bytes and in such a number; at
    /// least one, if there is one. Payloads are shared.
    pub(crate) fn range(
        &self,
        from: Index,
        to: Index,
        bytes_max: usize,
        entries_max: usize,
    ) -> Vec<Entry> {
        let (Some(from), Some(to)) = (self.offset(from), self.offset(to)) else {
            return Vec::new();
        };
        let to = (to + 1).min(self.entries.len()).min(from.saturating_add(entries_max));
        if from >= to {
            return Vec::new();
        }
        let mut bytes = 0;
        let mut count = 0;
        for entry in self.entries.range(from..to) {
            bytes += entry_bytes(entry);
            if count > 0 && bytes > bytes_max {
                break;
            }
            count += 1;
        }
        self.entries.range(from..from + count).cloned().collect()
    }

    /// Bytes that entries behind an index, up to another one, inclusive, count for.
    pub(crate) fn bytes_between(&self, after: Index, to: Index) -> usize {
        let (Some(from), Some(to)) = (self.offset(after.next()), self.offset(to)) else {
            return 0;
        };
        let to = (to + 1).min(self.entries.len());
        if from >= to { 0 } else { self.entries.range(from..to).map(entry_bytes).sum() }
    }

    /// What the entries kept count for, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets entries from the first on, none behind an index, until those left count for no more than so many bytes.
    pub(crate) fn forget(&mut self, to: Index, bytes_max: usize) {
        while self.bytes > bytes_max
            && let Some(first) = self.entries.pop_front_if(|entry| entry.index <= to)
        {
            self.base = Position::of(&first);
            self.bytes -= entry_bytes(&first);
        }
        let at_base = self.configurations.partition_point(|(index, _)| *index <= self.base.index);
        self.configurations.drain(..at_base - 1);
    }

    /// Gives back room that is hardly used.
    pub(crate) fn release_room(&mut self) {
        room::release(&mut self.entries);
    }

    /// Starts anew behind a position.
    pub(crate) fn reset(&mut self, base: Position, configuration: Configuration) {
        *self = Self::new(base, configuration);
    }

    /// The configuration that counts, and the index of its entry.
    pub(crate) fn configuration(&self) -> (Index, &Configuration) {
        let (index, configuration) =
            self.configurations.last().expect("raft: there is a configuration at the base");
        (*index, configuration)
    }

    /// The configuration as of an index that is not before the base.
    pub(crate) fn configuration_at(&self, index: Index) -> &Configuration {
        &self.configurations_from(index)[0].1
    }

    /// The configuration as of an index that is not before the base, and those behind it, with the indexes of their entries.
    pub(crate) fn configurations_from(&self, index: Index) -> &[(Index, Configuration)] {
        let count = self.configurations.partition_point(|(at, _)| *at <= index);
        &self.configurations[count.saturating_sub(1)..]
    }
}
