//! The engine trait and the plain data it speaks.

use std::ops::Deref;

use bytes::Bytes;
use ringfort_env::{Disk, DiskCompletion, DiskError, DiskRequest, FileName};
use ringfort_types::{Applied, GroupId};

/// Longest key that a store takes, in bytes: more than any key of the contract with what the state machine puts around it.
pub const STORED_KEY_BYTES_MAX: usize = 16 << 10;

/// Longest value that a store takes, in bytes.
pub const STORED_VALUE_BYTES_MAX: usize = 1 << 30;

/// A durable state of one store, numbered by the replica that owns it. 0: empty, nothing was ever flushed. Each flush and
/// each installed snapshot takes a number never used before; which one counts is decided by a record in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// A snapshot that is being read. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOperation {
    /// Sets a key. The value comes in two parts that are stored as one, so that a header needs no copy of what follows.
    Put {
        /// The key, 1 to [`STORED_KEY_BYTES_MAX`] bytes.
        key: Bytes,
        /// First part of the value.
        head: Bytes,
        /// Second part of the value; both together at most [`STORED_VALUE_BYTES_MAX`] bytes.
        body: Bytes,
    },
    /// Removes a key; nothing happens if it is absent.
    Delete {
        /// The key.
        key: Bytes,
    },
}

/// Changes that take effect together, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    /// The changes.
    pub operations: Vec<WriteOperation>,
    /// The log position that the store has applied once they are in.
    pub applied: Applied,
}

/// Keys from `start`, inclusive, to `end`, exclusive. An empty `start` is the first key, no `end` is no bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range<'a> {
    /// First key, inclusive.
    pub start: &'a [u8],
    /// End, exclusive.
    pub end: Option<&'a [u8]>,
}

/// What a scan's visitor wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanControl {
    /// The next item.
    Continue,
    /// No more.
    Stop,
}

/// A value read from a store: borrowed from it, or bytes of its own.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// Lives in the store; sharing it costs a copy.
    Borrowed(&'a [u8]),
    /// Shared.
    Shared(Bytes),
}

impl Value<'_> {
    /// The bytes, detached from the store.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreSize {
    /// Live keys.
    pub keys: u64,
    /// Bytes of live keys and values, without overhead.
    pub bytes: u64,
}

/// A flush that has ended well: the generation is durable and may be recorded in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// The store.
    pub group: GroupId,
    /// The generation now durable.
    pub generation: Generation,
    /// The position it holds.
    pub applied: Applied,
    /// Its size on disk, in bytes.
    pub bytes: u64,
}

/// Counters and gauges of an engine, for metrics. Counters run since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Flushes that became durable.
    pub flushes: u64,
    /// Bytes of their files.
    pub flushed_bytes: u64,
    /// Flushes that were given up.
    pub flushes_failed: u64,
    /// Files that should be gone and could not be removed so far.
    pub removals_failed: u64,
    /// Snapshots under way now, those of flushes included.
    pub snapshots: u64,
    /// Records that are kept now for snapshots only.
    pub records_superseded: u64,
}

/// Why an engine could not do as asked. Unless a variant says otherwise, nothing has changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no store for this group: our bug.
    #[error("group {0} has no store")]
    NoStore(GroupId),
    /// A store exists already: our bug.
    #[error("group {0} has a store already")]
    StoreExists(GroupId),
    /// There is no such snapshot: it was released, or its store dropped.
    #[error("snapshot {} is gone", .0.0)]
    NoSnapshot(SnapshotId),
    /// A flush of the store is under way: wait for its end.
    #[error("a flush of group {0} is under way")]
    FlushUnderWay(GroupId),
    /// What the disk holds is damaged, or cannot be read. The store is not opened; others are not affected.
    #[error("{file} is damaged at offset {offset}: {reason}")]
    Damaged {
        /// The file.
        file: FileName,
        /// Where the damaged part begins, in bytes.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The file's format is newer than this executable.
    #[error(
        "{file} has format version {found}, this executable reads up to {known}: start a newer one"
    )]
    NewerFormat {
        /// The file.
        file: FileName,
        /// Its version.
        found: u16,
        /// The newest one known here.
        known: u16,
    },
    /// The disk failed. For a flush: it has been given up, what it wrote is being removed, and it may be tried again.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a snapshot stream from elsewhere was not taken. The store is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot stream is damaged at byte {offset}: {reason}")]
pub struct StreamError {
    /// Where in the stream.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// Stores of applied data, one per Raft group.
///
/// One worker owns an engine; nothing here is shared between threads. Calls return at once for the memory engine; an
/// engine whose calls may block says so in [`StorageEngine::blocks`], and its host calls it from a pool.
pub trait StorageEngine: Send {
    /// Whether reads and writes may wait for a disk.
    fn blocks(&self) -> bool;

    /// Makes an empty store.
    ///
    /// # Errors
    /// [`EngineError::StoreExists`].
    fn create(&mut self, group: GroupId) -> Result<(), EngineError>;

    /// Opens the store that a generation holds (generation 0: an empty one) and returns the position it has applied.
    /// Runs to its end, at start, before anything else runs.
    ///
    /// # Errors
    /// The generation is damaged, missing, of a newer format, or cannot be read; the group then has no store.
    fn open(
        &mut self,
        disk: &mut dyn Disk,
        group: GroupId,
        generation: Generation,
    ) -> Result<Applied, EngineError>;

    /// The file that holds a generation, to be named where something is wrong with it.
    fn file(&self, group: GroupId, generation: Generation) -> FileName;

    /// Removes from disk what belongs to none of the named generations: left-overs of an interrupted flush or of a dropped
    /// store. `live` is every generation that the log names, those that could not be opened included. Called once, after
    /// all stores were opened. Returns how many files went.
    ///
    /// # Errors
    /// The disk failed; what is left over stays for the next start.
    fn remove_leftovers(
        &mut self,
        disk: &mut dyn Disk,
        live: &[(GroupId, Generation)],
    ) -> Result<usize, EngineError>;

    /// Removes a store, its snapshots and its files, and gives their space back. Nothing happens if there is none. Only once
    /// the log's record of it is durable: until then a start needs the files.
    fn drop_store(&mut self, group: GroupId);

    /// The position a store has applied.
    ///
    /// # Errors
    /// [`EngineError::NoStore`].
    fn applied(&self, group: GroupId) -> Result<Applied, EngineError>;

    /// Applies a batch.
    ///
    /// # Errors
    /// No store, or the engine's own failure: the replica must stop.
    ///
    /// # Panics
    /// A key or value is of a length that no store takes: our bug.
    fn write(&mut self, group: GroupId, batch: &WriteBatch) -> Result<(), EngineError>;

    /// Reads one key.
    ///
    /// # Errors
    /// No store, or the engine's own failure.
    fn get(&self, group: GroupId, key: &[u8]) -> Result<Option<Value<'_>>, EngineError>;

    /// Visits keys and values of a range in byte order of keys until the range ends or the visitor stops.
    ///
    /// # Errors
    /// No store, or the engine's own failure.
    fn scan(
        &self,
        group: GroupId,
        range: Range<'_>,
        visitor: &mut dyn FnMut(&[u8], &[u8]) -> ScanControl,
    ) -> Result<(), EngineError>;

    /// How much a store holds.
    ///
    /// # Errors
    /// [`EngineError::NoStore`].
    fn size(&self, group: GroupId) -> Result<StoreSize, EngineError>;

    /// Starts a snapshot of the store as it is now. Cheap; several may be under way. What it holds and has yet to be read
    /// stays in memory until it is released, also where it was overwritten.
    ///
    /// # Errors
    /// [`EngineError::NoStore`].
    fn snapshot(&mut self, group: GroupId) -> Result<(SnapshotId, Applied), EngineError>;

    /// The next part of a snapshot's stream, about `bytes_max` long (one record may exceed it); `None` at its end. The
    /// concatenation of all parts is the stream that [`StorageEngine::install`] takes.
    ///
    /// # Errors
    /// [`EngineError::NoSnapshot`] once it was released or its store dropped, or the engine's own failure.
    fn read_snapshot(
        &mut self,
        snapshot: SnapshotId,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, EngineError>;

    /// Ends a snapshot, read to its end or not. Nothing happens if it has ended.
    fn release_snapshot(&mut self, snapshot: SnapshotId);

    /// Replaces a store's content, in memory, by that of a complete stream. The store keeps its old content if the stream
    /// is damaged. Nothing is durable before the next flush. Snapshots and a flush of the old content go on; both contents
    /// are in memory until the stream was verified.
    ///
    /// # Errors
    /// The stream is damaged (the inner error), or there is no store.
    fn install(
        &mut self,
        group: GroupId,
        stream: &mut dyn Iterator<Item = Bytes>,
    ) -> Result<Result<Applied, StreamError>, EngineError>;

    /// Begins to make the store, as it is now, durable as a new generation, beside writers. Its end is told by
    /// [`StorageEngine::poll_flushed`]. One flush per store at a time; of many stores at once, some wait for others.
    ///
    /// # Errors
    /// No store, or a flush of it is under way.
    ///
    /// # Panics
    /// The generation is 0, or the store has it already: our bug.
    fn flush(&mut self, group: GroupId, generation: Generation) -> Result<(), EngineError>;

    /// Removes the files of a generation that counts no longer: the log's record of a newer one is durable, or that its
    /// replica is gone, whose store could not be opened. Nothing happens if it has none.
    fn remove_generation(&mut self, group: GroupId, generation: Generation);

    /// The next disk operation to execute.
    fn poll_disk(&mut self) -> Option<DiskRequest>;

    /// Takes the end of a disk operation. Costs at most the encoding of one part of a snapshot.
    ///
    /// # Errors
    /// A sync failed: the process must end without another acknowledgement. Other failures of a flush are told by
    /// [`StorageEngine::poll_flushed`]; a file that cannot be removed is counted and tried again later.
    ///
    /// # Panics
    /// The engine asked for no such operation, or was told of its end before: our bug.
    fn handle_disk(&mut self, completion: DiskCompletion) -> Result<(), DiskError>;

    /// The next flush that has ended, well or not. A flush whose store was dropped is not told of.
    fn poll_flushed(&mut self) -> Option<Result<Flushed, (GroupId, EngineError)>>;

    /// Counters and gauges.
    fn stats(&self) -> EngineStats;
}
