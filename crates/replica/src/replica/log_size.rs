//! How much of the log a replica keeps from going: the bytes of its entries since the base.
//!
//! ```text
//!   base            applied            last in the log
//!    │    applied      │     behind        │
//! ───┴─────────────────┴───────────────────┴──▶ index
//! ```
//!
//! A flush frees what is applied as it begins. Entries may be applied before they go to the log, and those behind may be
//! replaced: they are counted anew then, which is rare.

use ringfort_raft::Group;
use ringfort_types::{Entry, Index};

/// Bytes of entries since the base.
#[derive(Debug, Default)]
pub(super) struct LogSize {
    applied: u64,
    /// Of entries in the log that are not applied.
    behind: u64,
    /// The last index that went to the log.
    last: Index,
}

impl LogSize {
    /// Of a log behind its base as a start finds it: nothing is applied.
    pub(super) fn new(base: Index, entries: &[Entry]) -> Self {
        let last = entries.last().map_or(base, |entry| entry.index);
        Self { applied: 0, behind: bytes_of(entries), last }
    }

    pub(super) fn total(&self) -> u64 {
        self.applied + self.behind
    }

    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    /// Entries go to the log: all that the group holds stand in it then.
    pub(super) fn append(&mut self, entries: &[Entry], raft: &Group) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        if first.index <= self.last {
            self.behind = bytes_of(&raft.entries_from(raft.applied().next()));
        } else {
            // Those that are applied already were counted then.
            let fresh = entries.iter().filter(|entry| entry.index > raft.applied());
            self.behind += fresh.map(entry_bytes).sum::<u64>();
        }
        self.last = last.index;
    }

    /// Entries are applied; gives their bytes.
    pub(super) fn apply(&mut self, entries: &[Entry]) -> u64 {
        let in_log = entries.iter().filter(|entry| entry.index <= self.last);
        self.behind = self.behind.saturating_sub(in_log.map(entry_bytes).sum());
        let bytes = bytes_of(entries);
        self.applied += bytes;
        bytes
    }

    /// So much went with the entries up to a new base.
    pub(super) fn rebase(&mut self, dropped: u64) {
        self.applied = self.applied.saturating_sub(dropped);
    }
}

fn bytes_of(entries: &[Entry]) -> u64 {
    entries.iter().map(entry_bytes).sum()
}

/// What an entry costs in the log, roughly: its payload and a record's header.
fn entry_bytes(entry: &Entry) -> u64 {
    entry.payload.len() as u64 + 64
}
