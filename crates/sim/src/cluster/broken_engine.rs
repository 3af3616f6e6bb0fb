//! An engine with a fault of our own making over one that has none.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ringfort_engine::{
    EngineError, EngineStats, Flushed, Generation, Range, ScanControl, SnapshotId, StorageEngine,
    StoreSize, StreamError, Value, WriteBatch, WriteOperation,
};
use ringfort_env::{Disk, DiskCompletion, DiskError, DiskRequest, FileName};
use ringfort_types::{Applied, GroupId};

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What is installed has no remembered answers.
    RetriesDropped,
    /// What is flushed has the position of the last batch and not its data.
    BatchesTorn,
    /// A flush holds the batch after the one it was asked at, too: what the log may not have yet.
    FlushedAhead,
}

/// First bytes of keys of remembered answers, and of what says when to forget them: see the layout of `replica`.
const RETRIES: [u8; 2] = [3, 6];

/// The engine.
pub(super) struct BrokenEngine {
    inner: Box<dyn StorageEngine>,
    fault: Fault,
    /// What undoes the last batch of each store, and what does it again.
    last: BTreeMap<GroupId, (WriteBatch, WriteBatch)>,
    /// Flushes that wait for one more batch.
    late: BTreeMap<GroupId, Generation>,
    /// Stores whose next flush is of what was installed.
    installed: BTreeSet<GroupId>,
}

impl BrokenEngine {
    pub(super) fn new(inner: Box<dyn StorageEngine>, fault: Fault) -> Self {
        Self {
            inner,
            fault,
            last: BTreeMap::new(),
            late: BTreeMap::new(),
            installed: BTreeSet::new(),
        }
    }

    fn put(key: &Bytes, value: Option<Bytes>) -> WriteOperation {
        match value {
            Some(head) => WriteOperation::Put { key: key.clone(), head, body: Bytes::new() },
            None => WriteOperation::Delete { key: key.clone() },
        }
    }

    fn remember(&mut self, group: GroupId, batch: &WriteBatch) -> Result<(), EngineError> {
        let mut undo = WriteBatch { operations: Vec::new(), applied: batch.applied };
        for operation in batch.operations.iter().rev() {
            let (WriteOperation::Put { key, .. } | WriteOperation::Delete { key }) = operation;
            let old = self.inner.get(group, key)?.map(Value::into_bytes);
            undo.operations.push(Self::put(key, old));
        }
        self.last.insert(group, (undo, batch.clone()));
        Ok(())
    }

    fn drop_retries(&mut self, group: GroupId, applied: Applied) -> Result<(), EngineError> {
        let mut operations = Vec::new();
        for first in RETRIES {
            let (start, end) = ([first], [first + 1]);
            let range = Range { start: &start, end: Some(&end) };
            self.inner.scan(group, range, &mut |key, _| {
                operations.push(WriteOperation::Delete { key: Bytes::copy_from_slice(key) });
                ScanControl::Continue
            })?;
        }
        self.inner.write(group, &WriteBatch { operations, applied })
    }
}

impl StorageEngine for BrokenEngine {
    fn blocks(&self) -> bool {
        self.inner.blocks()
    }

    fn create(&mut self, group: GroupId) -> Result<(), EngineError> {
        self.inner.create(group)
    }

    fn open(
        &mut self,
        disk: &mut dyn Disk,
        group: GroupId,
        generation: Generation,
    ) -> Result<Applied, EngineError> {
        self.inner.open(disk, group, generation)
    }

    fn file(&self, group: GroupId, generation: Generation) -> FileName {
        self.inner.file(group, generation)
    }

    fn remove_leftovers(
        &mut self,
        disk: &mut dyn Disk,
        live: &[(GroupId, Generation)],
    ) -> Result<usize, EngineError> {
        self.inner.remove_leftovers(disk, live)
    }

    fn drop_store(&mut self, group: GroupId) {
        self.last.remove(&group);
        self.late.remove(&group);
        self.inner.drop_store(group);
    }

    fn applied(&self, group: GroupId) -> Result<Applied, EngineError> {
        self.inner.applied(group)
    }

    fn write(&mut self, group: GroupId, batch: &WriteBatch) -> Result<(), EngineError> {
        if self.fault == Fault::BatchesTorn {
            self.remember(group, batch)?;
        }
        self.inner.write(group, batch)?;
        match self.late.remove(&group) {
            Some(generation) => self.inner.flush(group, generation),
            None => Ok(()),
        }
    }

    fn get(&self, group: GroupId, key: &[u8]) -> Result<Option<Value<'_>>, EngineError> {
        self.inner.get(group, key)
    }

    fn scan(
        &self,
        group: GroupId,
        range: Range<'_>,
        visitor: &mut dyn FnMut(&[u8], &[u8]) -> ScanControl,
    ) -> Result<(), EngineError> {
        self.inner.scan(group, range, visitor)
    }

    fn size(&self, group: GroupId) -> Result<StoreSize, EngineError> {
        self.inner.size(group)
    }

    fn snapshot(&mut self, group: GroupId) -> Result<(SnapshotId, Applied), EngineError> {
        self.inner.snapshot(group)
    }

    fn read_snapshot(
        &mut self,
        snapshot: SnapshotId,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, EngineError> {
        self.inner.read_snapshot(snapshot, bytes_max)
    }

    fn release_snapshot(&mut self, snapshot: SnapshotId) {
        self.inner.release_snapshot(snapshot);
    }

    fn install(
        &mut self,
        group: GroupId,
        stream: &mut dyn Iterator<Item = Bytes>,
    ) -> Result<Result<Applied, StreamError>, EngineError> {
        self.last.remove(&group);
        self.late.remove(&group);
        self.installed.insert(group);
        let installed = self.inner.install(group, stream)?;
        if let (Ok(applied), Fault::RetriesDropped) = (&installed, self.fault) {
            self.drop_retries(group, *applied)?;
        }
        Ok(installed)
    }

    fn flush(&mut self, group: GroupId, generation: Generation) -> Result<(), EngineError> {
        if self.fault == Fault::FlushedAhead && !self.installed.remove(&group) {
            self.late.insert(group, generation);
            return Ok(());
        }
        let Some((undo, again)) = self.last.get(&group).cloned() else {
            return self.inner.flush(group, generation);
        };
        self.inner.write(group, &undo)?;
        let flushed = self.inner.flush(group, generation);
        self.inner.write(group, &again)?;
        flushed
    }

    fn remove_generation(&mut self, group: GroupId, generation: Generation) {
        self.inner.remove_generation(group, generation);
    }

    fn poll_disk(&mut self) -> Option<DiskRequest> {
        self.inner.poll_disk()
    }

    fn handle_disk(&mut self, completion: DiskCompletion) -> Result<(), DiskError> {
        self.inner.handle_disk(completion)
    }

    fn poll_flushed(&mut self) -> Option<Result<Flushed, (GroupId, EngineError)>> {
        self.inner.poll_flushed()
    }

    fn stats(&self) -> EngineStats {
        self.inner.stats()
    }
}
