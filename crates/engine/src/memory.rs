//! The memory engine: data in RAM, durable through the log and through snapshot files.
//!
//! A store is a hash table of records for point access and a packed ordered index of their keys for scans
//! ([`content`]). Each batch has a number; each record remembers which batch wrote it, so a snapshot is no more than a
//! number: writers keep the records it still needs ([`history`]) while it is read, part by part, in order of keys
//! ([`view`]). A flush writes such a snapshot to a file ([`flush`]), a start loads one ([`load`]), and the log is replayed
//! from there.
//!
//! Invariants:
//! - What was taken from a file or a stream is not served before all of it was verified.
//! - A file with the name of a generation was synced as a whole before it got the name.
//! - Each call costs what it reads or writes, with two exceptions: the release of a snapshot walks what was kept for it,
//!   and dropping or replacing a store frees its records.
//!
//! Left out on purpose: compression (the log's disk is not the bottleneck, the CPU is), and incremental files (a whole one
//! makes a start simple and bounds the space).

mod block;
mod content;
mod files;
mod flush;
mod hash;
mod history;
mod index;
mod load;
mod record;
mod stores;
mod table;
mod view;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use ringfort_env::{Disk, DiskCompletion, DiskError, DiskOperation, DiskRequest, FileName};
use ringfort_types::{Applied, GroupId};

use self::content::Content;
use self::files::SnapshotFile;
use self::flush::Flushes;
use self::hash::KeyHasher;
use self::stores::Stores;
use crate::store::{
    EngineError, EngineStats, Flushed, Generation, Range, ScanControl, SnapshotId, StorageEngine,
    StoreSize, StreamError, Value, WriteBatch,
};

/// Settings of a [`MemoryEngine`].
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// Keys are hashed under this secret, so that no client can choose keys that collide. Drawn at random at each start; it
    /// has no influence on results, only on their cost.
    pub hash_seed: u128,
}

/// Stores in memory.
pub struct MemoryEngine {
    stores: Stores,
    flushes: Flushes,
    scratch: Vec<u8>,
}

impl MemoryEngine {
    /// An engine without stores.
    #[must_use]
    pub fn new(options: MemoryOptions) -> Self {
        Self {
            stores: Stores::new(KeyHasher::new(options.hash_seed)),
            flushes: Flushes::default(),
            scratch: Vec::new(),
        }
    }
}

impl StorageEngine for MemoryEngine {
    fn blocks(&self) -> bool {
        false
    }

    fn create(&mut self, group: GroupId) -> Result<(), EngineError> {
        self.stores.check_vacant(group)?;
        let content = Content::new(group, self.stores.hasher());
        self.stores.add(content, None);
        Ok(())
    }

    fn open(
        &mut self,
        disk: &mut dyn Disk,
        group: GroupId,
        generation: Generation,
    ) -> Result<Applied, EngineError> {
        if generation == Generation(0) {
            self.create(group)?;
            return Ok(Applied::default());
        }
        self.stores.check_vacant(group)?;
        let content = load::from_file(disk, group, generation, self.stores.hasher())?;
        let applied = content.applied;
        self.stores.add(content, Some(generation));
        Ok(applied)
    }

    fn file(&self, group: GroupId, generation: Generation) -> FileName {
        files::whole(group, generation)
    }

    fn remove_leftovers(
        &mut self,
        disk: &mut dyn Disk,
        live: &[(GroupId, Generation)],
    ) -> Result<usize, EngineError> {
        let mut removed = 0;
        for (name, _) in disk.list()? {
            match files::parse(&name) {
                None => continue,
                Some(SnapshotFile::Whole(group, generation))
                    if live.contains(&(group, generation)) =>
                {
                    continue;
                }
                Some(_) => {
                    disk.execute(&DiskOperation::Delete(name))?;
                    removed += 1;
                }
            }
        }
        if removed > 0 {
            disk.execute(&DiskOperation::SyncDirectory)?;
        }
        Ok(removed)
    }

    fn drop_store(&mut self, group: GroupId) {
        self.flushes.abandon(group);
        let Some(store) = self.stores.remove(group) else {
            return;
        };
        for generation in &store.files {
            self.flushes.remove(files::whole(group, *generation));
        }
    }

    fn applied(&self, group: GroupId) -> Result<Applied, EngineError> {
        Ok(self.stores.get(group)?.content.applied)
    }

    fn write(&mut self, group: GroupId, batch: &WriteBatch) -> Result<(), EngineError> {
        let store = self.stores.get_mut(group)?;
        store.content.write(batch, &mut self.scratch);
        Ok(())
    }

    fn get(&self, group: GroupId, key: &[u8]) -> Result<Option<Value<'_>>, EngineError> {
        let record = self.stores.get(group)?.content.find(key);
        Ok(record.map(|record| Value::Borrowed(record.value())))
    }

    fn scan(
        &self,
        group: GroupId,
        range: Range<'_>,
        visitor: &mut dyn FnMut(&[u8], &[u8]) -> ScanControl,
    ) -> Result<(), EngineError> {
        self.stores.get(group)?.content.scan(range, visitor);
        Ok(())
    }

    fn size(&self, group: GroupId) -> Result<StoreSize, EngineError> {
        Ok(self.stores.get(group)?.content.size)
    }

    fn snapshot(&mut self, group: GroupId) -> Result<(SnapshotId, Applied), EngineError> {
        self.stores.snapshot(group)
    }

    fn read_snapshot(
        &mut self,
        snapshot: SnapshotId,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, EngineError> {
        self.stores.read_snapshot(snapshot, bytes_max)
    }

    fn release_snapshot(&mut self, snapshot: SnapshotId) {
        self.stores.release_snapshot(snapshot);
    }

    fn install(
        &mut self,
        group: GroupId,
        stream: &mut dyn Iterator<Item = Bytes>,
    ) -> Result<Result<Applied, StreamError>, EngineError> {
        self.stores.get(group)?;
        match load::from_stream(group, self.stores.hasher(), stream) {
            Ok(content) => {
                let applied = content.applied;
                self.stores.replace(content)?;
                Ok(Ok(applied))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    fn flush(&mut self, group: GroupId, generation: Generation) -> Result<(), EngineError> {
        let store = self.stores.get(group)?;
        assert!(
            generation > Generation(0) && !store.files.contains(&generation),
            "a flush has a generation of its own, not {}",
            generation.0
        );
        if self.flushes.flushes(group) {
            return Err(EngineError::FlushUnderWay(group));
        }
        let snapshot = self.stores.snapshot(group)?;
        self.flushes.begin(group, generation, snapshot);
        Ok(())
    }

    fn remove_generation(&mut self, group: GroupId, generation: Generation) {
        let has_file = match self.stores.get_mut(group) {
            Ok(store) => store.files.remove(&generation),
            // Of a store that could not be opened.
            Err(_) => generation > Generation(0),
        };
        if has_file {
            self.flushes.remove(files::whole(group, generation));
        }
    }

    fn poll_disk(&mut self) -> Option<DiskRequest> {
        self.flushes.poll_disk()
    }

    fn handle_disk(&mut self, completion: DiskCompletion) -> Result<(), DiskError> {
        self.flushes.handle_disk(completion, &mut self.stores)
    }

    fn poll_flushed(&mut self) -> Option<Result<Flushed, (GroupId, EngineError)>> {
        self.flushes.poll_flushed()
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            snapshots: self.stores.snapshots(),
            records_superseded: self.stores.records_superseded(),
            ..self.flushes.stats()
        }
    }
}

// Hosts hold engines as trait objects, and move them to the thread that owns them.
const _: fn(MemoryEngine) -> Box<dyn StorageEngine + Send> = |engine| Box::new(engine);
