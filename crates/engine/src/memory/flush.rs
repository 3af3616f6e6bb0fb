//! From a snapshot to a durable file, and files that go again: the engine's disk work as a core.
//!
//! ```text
//!  waiting → creating → writing ⇄ syncing → renaming → syncing directory → durable
//!               │        ↺  │                  │
//!               └───────────┴──── failed ──────┴→ removing → given up
//! ```
//!
//! A file is written under a name that no start takes for a generation, synced, and only then renamed: what has the name of
//! a generation is whole. One operation per flush is under way at a time, so each completion costs the encoding of at most
//! one part; [`FLUSHES_MAX`] flushes write at a time, the others wait with their snapshots taken. A failed sync is never
//! retried and ends the process.
//!
//! A dropped store abandons its flush: the operation under way is awaited, then what was written is removed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use ringfort_env::{
    DiskCompletion, DiskError, DiskErrorKind, DiskOperation, DiskRequest, FileName, Lane,
    OperationId,
};
use ringfort_types::{Applied, GroupId};

use super::files::{self, SnapshotFile};
use super::stores::Stores;
use crate::store::{EngineError, EngineStats, Flushed, Generation, SnapshotId};
use crate::stream::file_head;

/// Flushes that write at the same time.
const FLUSHES_MAX: usize = 2;

/// A file is written in parts of about this size: a fraction of a millisecond of encoding each.
const PART_BYTES: usize = 256 << 10;

/// So much is synced at a time. The disk takes long over all of a file, and the log's own syncs wait for it meanwhile.
const SYNC_BYTES: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FlushId(u64);

#[derive(Debug)]
enum Stage {
    Creating,
    Writing,
    Syncing,
    Renaming,
    SyncingDirectory,
    /// The flush is given up for this reason; `None`: its store was dropped.
    Removing(Option<DiskError>),
}

/// A flush and what it writes.
#[derive(Debug)]
struct Flush {
    group: GroupId,
    generation: Generation,
    snapshot: SnapshotId,
    applied: Applied,
    /// Bytes written or being written.
    len: u64,
    /// Those of them that are synced or being synced.
    synced: u64,
    stage: Stage,
    abandoned: bool,
}

impl Flush {
    fn whole(&self) -> FileName {
        files::whole(self.group, self.generation)
    }

    fn unfinished(&self) -> FileName {
        files::unfinished(self.group, self.generation)
    }

    fn sync(&mut self) -> (Stage, DiskOperation) {
        self.synced = self.len;
        (Stage::Syncing, DiskOperation::SyncData(self.unfinished()))
    }

    fn same_file(&self, other: &Self) -> bool {
        (self.group, self.generation) == (other.group, other.generation)
    }
}

/// What an operation under way belongs to.
enum Work {
    Flush(FlushId),
    Remove(FileName),
    SyncRemovals,
}

/// The disk work of one engine.
#[derive(Default)]
pub(super) struct Flushes {
    requests: VecDeque<DiskRequest>,
    operations_made: u64,
    under_way: BTreeMap<OperationId, Work>,
    flushes_made: u64,
    active: BTreeMap<FlushId, Flush>,
    waiting: VecDeque<Flush>,
    ended: VecDeque<Result<Flushed, (GroupId, EngineError)>>,
    removals: usize,
    /// Files that could not be removed; tried again after the next flush, and left to the next start otherwise.
    unremoved: BTreeSet<FileName>,
    stats: EngineStats,
}

impl Flushes {
    /// Begins a flush of a snapshot that was taken for it.
    pub(super) fn begin(
        &mut self,
        group: GroupId,
        generation: Generation,
        (snapshot, applied): (SnapshotId, Applied),
    ) {
        self.waiting.push_back(Flush {
            group,
            generation,
            snapshot,
            applied,
            len: 0,
            synced: 0,
            stage: Stage::Creating,
            abandoned: false,
        });
        self.start_waiting();
    }

    /// Whether a group's flush is waiting or under way.
    pub(super) fn flushes(&self, group: GroupId) -> bool {
        let mut all = self.active.values().chain(&self.waiting);
        all.any(|flush| flush.group == group && !flush.abandoned)
    }

    /// Gives up a group's flush: its store is gone. One that has ended and was not told of is not told of any more: a store
    /// that is made anew for the group would take it for its own.
    pub(super) fn abandon(&mut self, group: GroupId) {
        self.ended.retain(|ended| match ended {
            Ok(flushed) => flushed.group != group,
            Err((failed, _)) => *failed != group,
        });
        self.waiting.retain(|flush| flush.group != group);
        for flush in self.active.values_mut() {
            flush.abandoned |= flush.group == group;
        }
    }

    /// Removes a file.
    pub(super) fn remove(&mut self, file: FileName) {
        self.removals += 1;
        self.request(DiskOperation::Delete(file.clone()), Work::Remove(file));
    }

    pub(super) fn poll_disk(&mut self) -> Option<DiskRequest> {
        self.requests.pop_front()
    }

    pub(super) fn poll_flushed(&mut self) -> Option<Result<Flushed, (GroupId, EngineError)>> {
        self.ended.pop_front()
    }

    /// Counters of flushes and removals.
    pub(super) fn stats(&self) -> EngineStats {
        EngineStats { removals_failed: self.unremoved.len() as u64, ..self.stats }
    }

    /// Takes the end of an operation.
    ///
    /// # Errors
    /// A sync failed.
    pub(super) fn handle_disk(
        &mut self,
        completion: DiskCompletion,
        stores: &mut Stores,
    ) -> Result<(), DiskError> {
        let work = self.under_way.remove(&completion.id);
        let result = completion.result.map(|_| ());
        match work.expect("a completion answers an operation under way") {
            Work::Flush(id) => self.handle_flush(id, result, stores)?,
            Work::Remove(file) => self.handle_removed(file, result, stores),
            Work::SyncRemovals => result?,
        }
        self.start_waiting();
        Ok(())
    }

    fn request(&mut self, operation: DiskOperation, work: Work) {
        self.operations_made += 1;
        let id = OperationId(self.operations_made);
        self.under_way.insert(id, work);
        let lane = Lane::Background;
        self.requests.push_back(DiskRequest { id, lane, operation });
    }

    fn start_waiting(&mut self) {
        while self.active.len() < FLUSHES_MAX {
            // The file of an abandoned flush may still be there; its name is free once that flush has ended.
            let free = |flush: &Flush| !self.active.values().any(|other| other.same_file(flush));
            let Some(next) = self.waiting.iter().position(free) else {
                return;
            };
            let Some(flush) = self.waiting.remove(next) else {
                return;
            };
            self.unremoved.remove(&flush.whole());
            self.unremoved.remove(&flush.unfinished());
            self.flushes_made += 1;
            let id = FlushId(self.flushes_made);
            self.request(DiskOperation::Create(flush.unfinished()), Work::Flush(id));
            self.active.insert(id, flush);
        }
    }

    fn handle_flush(
        &mut self,
        id: FlushId,
        result: Result<(), DiskError>,
        stores: &mut Stores,
    ) -> Result<(), DiskError> {
        let mut flush = self.active.remove(&id).expect("a flush under way is known");
        if matches!(flush.stage, Stage::Syncing | Stage::SyncingDirectory) {
            result.clone()?;
        }
        let next = match &mut flush.stage {
            Stage::Removing(reason) => {
                let reason = reason.take();
                self.end_given_up(&flush, reason, result);
                return Ok(());
            }
            _ if flush.abandoned || result.is_err() => Self::give_up(&mut flush, result, stores),
            _ => Self::advance(&mut flush, stores),
        };
        match next {
            Some(operation) => {
                self.request(operation, Work::Flush(id));
                self.active.insert(id, flush);
            }
            None => self.end_durable(&flush, stores),
        }
        Ok(())
    }

    /// The operation after one that succeeded; `None` after the last.
    fn advance(flush: &mut Flush, stores: &mut Stores) -> Option<DiskOperation> {
        let unsynced = flush.len - flush.synced;
        let (stage, operation) = match flush.stage {
            Stage::Writing if unsynced >= SYNC_BYTES => flush.sync(),
            Stage::Creating | Stage::Writing | Stage::Syncing => match next_part(flush, stores) {
                Some(bytes) => {
                    let offset = flush.len;
                    flush.len += bytes.len() as u64;
                    let file = flush.unfinished();
                    (Stage::Writing, DiskOperation::WriteAt { file, offset, bytes })
                }
                None if unsynced > 0 => flush.sync(),
                None => {
                    let (from, to) = (flush.unfinished(), flush.whole());
                    (Stage::Renaming, DiskOperation::Rename { from, to })
                }
            },
            Stage::Renaming => (Stage::SyncingDirectory, DiskOperation::SyncDirectory),
            Stage::SyncingDirectory | Stage::Removing(_) => return None,
        };
        flush.stage = stage;
        Some(operation)
    }

    /// Removes what was written of a flush that failed or whose store was dropped.
    fn give_up(
        flush: &mut Flush,
        result: Result<(), DiskError>,
        stores: &mut Stores,
    ) -> Option<DiskOperation> {
        if !flush.abandoned {
            stores.release_snapshot(flush.snapshot);
        }
        let renamed = match flush.stage {
            Stage::Renaming => result.is_ok(),
            Stage::SyncingDirectory => true,
            _ => false,
        };
        let file = if renamed { flush.whole() } else { flush.unfinished() };
        flush.stage = Stage::Removing(result.err());
        Some(DiskOperation::Delete(file))
    }

    fn end_durable(&mut self, flush: &Flush, stores: &mut Stores) {
        stores.release_snapshot(flush.snapshot);
        let Flush { group, generation, .. } = *flush;
        if let Ok(store) = stores.get_mut(group) {
            store.files.insert(generation);
        }
        self.stats.flushes += 1;
        self.stats.flushed_bytes += flush.len;
        self.ended.push_back(Ok(Flushed {
            group,
            generation,
            applied: flush.applied,
            bytes: flush.len,
        }));
        for file in std::mem::take(&mut self.unremoved) {
            self.remove(file);
        }
    }

    /// Reports a flush whose remains have been removed, or could not be.
    fn end_given_up(
        &mut self,
        flush: &Flush,
        reason: Option<DiskError>,
        removed: Result<(), DiskError>,
    ) {
        let remains = removed.err().filter(|error| error.kind != DiskErrorKind::NotFound);
        if remains.is_some() {
            self.unremoved.insert(flush.unfinished());
        }
        // A dropped store has nobody to report to.
        let Some(mut error) = reason.filter(|_| !flush.abandoned) else {
            return;
        };
        if let Some(remains) = remains {
            error.message = format!("{}; then {remains}", error.message);
        }
        self.stats.flushes_failed += 1;
        self.ended.push_back(Err((flush.group, error.into())));
    }

    fn handle_removed(&mut self, file: FileName, result: Result<(), DiskError>, stores: &Stores) {
        let failed = result.is_err_and(|error| error.kind != DiskErrorKind::NotFound);
        // A group that was dropped and made anew may use a generation's number again: its file is not to be removed later.
        if failed && !self.is_in_use(&file, stores) {
            self.unremoved.insert(file);
        }
        self.removals -= 1;
        if self.removals == 0 {
            self.request(DiskOperation::SyncDirectory, Work::SyncRemovals);
        }
    }

    fn is_in_use(&self, file: &FileName, stores: &Stores) -> bool {
        let writes = |flush: &Flush| *file == flush.whole() || *file == flush.unfinished();
        let holds = match files::parse(file) {
            Some(SnapshotFile::Whole(group, generation)) => {
                stores.get(group).is_ok_and(|store| store.files.contains(&generation))
            }
            _ => false,
        };
        holds || self.active.values().any(writes)
    }
}

/// The next bytes of a flush's file; `None` after the last.
fn next_part(flush: &Flush, stores: &mut Stores) -> Option<Bytes> {
    let part = stores.read_snapshot(flush.snapshot, PART_BYTES);
    let part = part.expect("a flush that is not abandoned has its snapshot")?;
    if flush.len > 0 {
        return Some(part);
    }
    let head = file_head(flush.group, flush.generation);
    Some([&head[..], &part].concat().into())
}
