//! Records that were overwritten or deleted while a snapshot still needs them.
//!
//! A record written by batch `w` and superseded by batch `u` is part of a snapshot taken after batch `S` exactly if
//! `w <= S < u`. So at most one kept record of a key is visible to a snapshot.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

use super::record::{Record, Sequence};

/// A record and the batch that superseded it.
struct Superseded {
    record: Record,
    until: Sequence,
}

/// A record as a key of the map, in place of a copy of its key. It is the first one kept of that key, and stays as long as
/// any other of them does.
struct ByKey(Record);

impl Borrow<[u8]> for ByKey {
    fn borrow(&self) -> &[u8] {
        self.0.key()
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key().cmp(other.0.key())
    }
}

/// Keys with superseded records, in order; made by [`History::range`].
pub(super) struct SupersededKeys<'a>(btree_map::Range<'a, ByKey, Vec<Superseded>>);

impl<'a> Iterator for SupersededKeys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.next().map(|(key, _)| key.0.key())
    }
}

/// Superseded records by key.
#[derive(Default)]
pub(super) struct History {
    keys: BTreeMap<ByKey, Vec<Superseded>>,
    records: u64,
}

impl History {
    /// Keeps a record that batch `until` supersedes.
    pub(super) fn keep(&mut self, record: Record, until: Sequence) {
        self.records += 1;
        let superseded = Superseded { record: record.clone(), until };
        if let Some(versions) = self.keys.get_mut(record.key()) {
            versions.push(superseded);
        } else {
            self.keys.insert(ByKey(record), vec![superseded]);
        }
    }

    /// What a snapshot taken after batch `at` sees of a key that has been superseded since.
    pub(super) fn visible(&self, key: &[u8], at: Sequence) -> Option<&Record> {
        if self.keys.is_empty() {
            return None;
        }
        let versions = self.keys.get(key)?;
        let visible = |kept: &&Superseded| kept.record.sequence() <= at && at < kept.until;
        Some(&versions.iter().find(visible)?.record)
    }

    /// Keys from a bound on, in order.
    pub(super) fn range(&self, from: Bound<&[u8]>) -> SupersededKeys<'_> {
        SupersededKeys(self.keys.range::<[u8], _>((from, Bound::Unbounded)))
    }

    /// Drops every record for which `needed` (its key, the batch that wrote it, the batch that superseded it) is false.
    pub(super) fn retain(&mut self, needed: impl Fn(&[u8], Sequence, Sequence) -> bool) {
        let mut records = 0;
        self.keys.retain(|key, versions| {
            versions.retain(|kept| needed(key.0.key(), kept.record.sequence(), kept.until));
            records += versions.len() as u64;
            !versions.is_empty()
        });
        self.records = records;
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many records are kept.
    pub(super) fn len(&self) -> u64 {
        self.records
    }
}
