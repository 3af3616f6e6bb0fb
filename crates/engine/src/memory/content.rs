//! What one store holds: records by hash, keys in order, and the snapshots being read.
//!
//! ```text
//!  records   hash of key → record              point reads and writes
//!  index     keys in order                     scans; changed only by new and deleted keys
//!  history   superseded records by key         only what a snapshot under way has yet to read
//!  views     one per snapshot: its batch, and the key it has been read up to
//! ```
//!
//! Invariants: `records` and `index` hold the same keys; a record is written once and never changed, so a snapshot can share
//! it; `history` holds every record written by batch `w` and superseded by `u` for which some view taken after batch `S` with
//! `w <= S < u` has not passed its key, and none that was needed by no view when it was superseded.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use ringfort_types::{Applied, GroupId};

use super::hash::KeyHasher;
use super::history::History;
use super::index::{IndexBuilder, OrderedIndex};
use super::record::{Record, Sequence};
use super::table::PointTable;
use super::view::View;
use crate::store::{Range, ScanControl, SnapshotId, StoreSize, WriteBatch, WriteOperation};
use crate::stream::StreamHead;

/// The content of one store, from the moment it was made, loaded or installed.
pub(super) struct Content {
    pub(super) group: GroupId,
    hasher: Arc<KeyHasher>,
    pub(super) applied: Applied,
    pub(super) size: StoreSize,
    pub(super) sequence: Sequence,
    pub(super) records: PointTable,
    pub(super) index: OrderedIndex,
    pub(super) history: History,
    pub(super) views: BTreeMap<SnapshotId, View>,
}

impl Content {
    /// An empty content.
    pub(super) fn new(group: GroupId, hasher: Arc<KeyHasher>) -> Self {
        Self {
            group,
            hasher,
            applied: Applied::default(),
            size: StoreSize::default(),
            sequence: Sequence::default(),
            records: PointTable::new(),
            index: OrderedIndex::default(),
            history: History::default(),
            views: BTreeMap::new(),
        }
    }

    /// The record of a key.
    pub(super) fn find(&self, key: &[u8]) -> Option<&Record> {
        self.records.find(self.hasher.hash(key), key)
    }

    /// Applies a batch.
    pub(super) fn write(&mut self, batch: &WriteBatch, scratch: &mut Vec<u8>) {
        self.sequence = self.sequence.next();
        for operation in &batch.operations {
            match operation {
                WriteOperation::Put { key, head, body } => {
                    let record = Record::new(self.sequence, key, [head, body], scratch);
                    self.put(key, record);
                }
                WriteOperation::Delete { key } => self.delete(key),
            }
        }
        self.applied = batch.applied;
    }

    fn put(&mut self, key: &[u8], record: Record) {
        self.size.bytes += record.joined().len() as u64;
        if let Some(old) = self.records.put(record, &self.hasher) {
            self.supersede(old);
        } else {
            self.index.insert(key);
            self.size.keys += 1;
        }
    }

    fn delete(&mut self, key: &[u8]) {
        if let Some(old) = self.records.remove(key, &self.hasher) {
            self.index.remove(key);
            self.size.keys -= 1;
            self.supersede(old);
        }
    }

    /// A record that is no longer live goes, or is kept while a snapshot has yet to read it.
    fn supersede(&mut self, old: Record) {
        self.size.bytes -= old.joined().len() as u64;
        let mut views = self.views.values();
        if views.any(|view| view.needs(old.key(), old.sequence(), self.sequence)) {
            self.history.keep(old, self.sequence);
        }
    }

    /// Visits keys and values of a range in order.
    pub(super) fn scan(
        &self,
        range: Range<'_>,
        visitor: &mut dyn FnMut(&[u8], &[u8]) -> ScanControl,
    ) {
        for key in self.index.range(Bound::Included(range.start)) {
            if range.end.is_some_and(|end| key >= end) {
                return;
            }
            let Some(record) = self.find(key) else {
                unreachable!("a key of the index has a record");
            };
            if visitor(key, record.value()) == ScanControl::Stop {
                return;
            }
        }
    }

    /// Starts a snapshot.
    pub(super) fn add_view(&mut self, id: SnapshotId) {
        let head = StreamHead { group: self.group, applied: self.applied, size: self.size };
        self.views.insert(id, View::new(self.sequence, head));
    }

    /// Ends a snapshot and drops what only it needed.
    pub(super) fn remove_view(&mut self, id: SnapshotId) {
        if self.views.remove(&id).is_none() {
            return;
        }
        if self.views.is_empty() {
            self.history.clear();
        } else if self.history.len() > 0 {
            let views = &self.views;
            self.history
                .retain(|key, from, until| views.values().any(|view| view.needs(key, from, until)));
        }
    }
}

/// Makes a content of records that come in order of keys.
pub(super) struct ContentBuilder {
    content: Content,
    index: IndexBuilder,
}

impl ContentBuilder {
    pub(super) fn new(group: GroupId, hasher: Arc<KeyHasher>) -> Self {
        Self { content: Content::new(group, hasher), index: IndexBuilder::default() }
    }

    /// Makes room for records that are expected. Before the first one.
    pub(super) fn reserve(&mut self, records: usize) {
        self.content.records = PointTable::with_capacity(records);
    }

    /// Appends a record whose key is larger than all before.
    pub(super) fn push(&mut self, key_len: usize, joined: &[u8]) {
        let record = Record::from_joined(Sequence::default(), key_len, joined);
        self.index.push(record.key());
        let Content { records, hasher, size, .. } = &mut self.content;
        size.keys += 1;
        size.bytes += joined.len() as u64;
        records.put_new(record, hasher);
    }

    /// The content at a position.
    pub(super) fn finish(mut self, applied: Applied) -> Content {
        self.content.index = self.index.finish();
        self.content.applied = applied;
        self.content
    }
}
