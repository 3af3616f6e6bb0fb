//! An engine that remembers how large its batches were.

use bytes::Bytes;
use ringfort_engine::{
    EngineError, EngineStats, Flushed, Generation, MemoryEngine, Range, ScanControl, SnapshotId,
    StorageEngine, StoreSize, StreamError, Value, WriteBatch, WriteOperation,
};
use ringfort_env::{Disk, DiskCompletion, DiskError, DiskRequest, FileName};
use ringfort_types::{Applied, GroupId};

/// Batches of one store.
pub(crate) struct Counting {
    pub(crate) inner: MemoryEngine,
    /// Entries applied with each batch, and bytes of keys and values put.
    pub(crate) batches: Vec<(u64, usize)>,
}

fn put_bytes(operation: &WriteOperation) -> usize {
    match operation {
        WriteOperation::Put { key, head, body } => key.len() + head.len() + body.len(),
        WriteOperation::Delete { .. } => 0,
    }
}

impl StorageEngine for Counting {
    fn write(&mut self, group: GroupId, batch: &WriteBatch) -> Result<(), EngineError> {
        let before = self.inner.applied(group)?.index.0;
        let bytes = batch.operations.iter().map(put_bytes).sum();
        self.batches.push((batch.applied.index.0 - before, bytes));
        self.inner.write(group, batch)
    }

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
        self.inner.drop_store(group);
    }

    fn applied(&self, group: GroupId) -> Result<Applied, EngineError> {
        self.inner.applied(group)
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
        self.inner.install(group, stream)
    }

    fn flush(&mut self, group: GroupId, generation: Generation) -> Result<(), EngineError> {
        self.inner.flush(group, generation)
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
