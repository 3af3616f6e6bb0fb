//! Where applied data lives: the [`StorageEngine`] trait, the in-memory engine, and the suite that every engine passes.
//!
//! An engine keeps one ordered store of bytes per Raft group. It knows nothing of keys, versions or expiry: what stands
//! in a store is the state machine's affair. What it promises:
//!
//! - A [`WriteBatch`] is atomic: its operations and its applied position are all there or none, now and after a start.
//! - A snapshot shows the store exactly as it was after one batch, whatever is written meanwhile.
//! - What it makes durable it makes durable as a whole: [`StorageEngine::flush`] names a generation, and until the log's
//!   record of that generation is durable, a start comes back to the generation before it. The log is replayed from
//!   there.
//!
//! An engine does no I/O of its own unless it says so: like every core it queues
//! [`DiskRequest`](ringfort_env::DiskRequest)s and is handed their completions. Engines that bring their own threads and files (`lsm`, `rocksdb`) queue none.
//!
//! Left out on purpose: merging, ranges of deletions, iterators that outlive a call. The bytes of snapshots stand in
//! `docs/formats/snapshot.md`. The suite needs the feature `suite` outside this crate.

mod memory;
mod store;
mod stream;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use memory::{MemoryEngine, MemoryOptions};
pub use store::{
    EngineError, EngineStats, Flushed, Generation, Range, STORED_KEY_BYTES_MAX,
    STORED_VALUE_BYTES_MAX, ScanControl, SnapshotId, StorageEngine, StoreSize, StreamError, Value,
    WriteBatch, WriteOperation,
};
